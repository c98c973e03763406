package config

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	secrettypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"

	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
)

// StageFile is where the configuration of a stage is kept, below the directory of a project.
func StageFile(stage string) string { return filepath.Join(".rstreams", stage+".json") }

// findStage finds the bus of a stage.
func findStage(ctx context.Context, stage string, o FindOptions) (Found, error) {
	for dir := o.Dir; ; {
		if path := filepath.Join(dir, StageFile(stage)); exists(path) {
			found, _, err := fromFile(path, "the file "+path)
			return found, err
		}
		up := filepath.Dir(dir)
		if up == dir {
			return fromStack(ctx, "rstreams-"+stage, stage, o)
		}
		dir = up
	}
}

// fromStack reads what the stack of a bus published.
func fromStack(ctx context.Context, stack, stage string, o FindOptions) (Found, error) {
	nowhere := fmt.Sprintf("there is no file %s in %s or above it", StageFile(stage), o.Dir)
	sdk, err := remote(ctx, o)
	if err != nil {
		return Found{}, fmt.Errorf("the bus aws:%s: %s, and %w", stage, nowhere, err)
	}
	parameter := "/rstreams/" + stack + "/config"
	out, perr := ssm.NewFromConfig(sdk).GetParameter(ctx, &ssm.GetParameterInput{Name: &parameter, WithDecryption: awssdk.Bool(true)})
	if perr == nil && out.Parameter != nil {
		return parse([]byte(awssdk.ToString(out.Parameter.Value)), "the SSM parameter "+parameter)
	}
	text, serr := secret(ctx, sdk, "rstreams-"+stack)
	if serr == nil {
		return parse([]byte(text), "the secret rstreams-"+stack)
	}
	var noParameter *ssmtypes.ParameterNotFound
	var noSecret *secrettypes.ResourceNotFoundException
	if errors.As(perr, &noParameter) && errors.As(serr, &noSecret) {
		return Found{}, fmt.Errorf("%w: the bus aws:%s: %s, and no stack %s has published its configuration in %s; deploy it with "+
			"`scripts/deploy %s`, or correct the region", store.ErrUnavailable, stage, nowhere, stack, sdk.Region, stage)
	}
	return Found{}, fmt.Errorf("%w: the bus aws:%s: %s, and its configuration in %s cannot be read: SSM parameter %s: %s; secret rstreams-%s: %s",
		store.ErrUnavailable, stage, nowhere, sdk.Region, parameter, reason(perr), stack, reason(serr))
}

// fromSecretEnv reads the secret that an environment variable names.
func fromSecretEnv(ctx context.Context, name string, o FindOptions) (Found, bool, error) {
	id := o.getenv(name)
	if id == "" {
		return Found{}, false, nil
	}
	source := "the secret " + id + " (from " + name + ")"
	sdk, err := remote(ctx, o)
	if err != nil {
		return Found{}, true, fmt.Errorf("%s: %w", source, err)
	}
	text, err := secret(ctx, sdk, id)
	if err != nil {
		return Found{}, true, fmt.Errorf("%w: %s in %s: %s", store.ErrUnavailable, source, sdk.Region, reason(err))
	}
	found, err := parse([]byte(text), source)
	return found, true, err
}

// remote returns the SDK's configuration for what is looked up on AWS. The region must be configured: leo-sdk would assume one,
// and look in the wrong place (fault 42).
func remote(ctx context.Context, o FindOptions) (awssdk.Config, error) {
	endpoint := o.getenv(endpointEnv)
	if err := reach(ctx, endpoint); err != nil {
		return awssdk.Config{}, err
	}
	sdk, err := loadAWS(ctx, o, o.getenv("AWS_REGION"), endpoint)
	if err == nil && sdk.Region == "" {
		err = fmt.Errorf("%w: no region is configured to look it up in; set AWS_REGION", awsbus.ErrConfig)
	}
	return sdk, err
}

// secret reads a secret's text.
func secret(ctx context.Context, sdk awssdk.Config, id string) (string, error) {
	out, err := secretsmanager.NewFromConfig(sdk).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
	if err != nil {
		return "", err
	}
	if out.SecretString == nil {
		return "", errors.New("it holds bytes instead of text")
	}
	return *out.SecretString, nil
}

// reason is the part of an AWS error that people need.
func reason(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode() + ": " + api.ErrorMessage()
	}
	return err.Error()
}
