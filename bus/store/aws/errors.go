package aws

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/rstreams-go/rstreams/bus/store"
)

// sentinels are the errors of package store that may already be in an error's chain.
var sentinels = [...]error{
	store.ErrNotFound, store.ErrConflict, store.ErrThrottled, store.ErrTooLarge, store.ErrInvalid, store.ErrCorrupt, store.ErrUnavailable,
}

// classify turns an error of an AWS call into one of package store that says in one line what was tried (op, which names the
// table, stream, bucket or function), what is wrong and what to do. Errors of package store, of contexts and nil pass.
func (b *Bus) classify(op string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*store.BatchError](err); ok {
		return err
	}
	for _, s := range sentinels {
		if errors.Is(err, s) {
			return err
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", op, oneLine{err})
	}
	kind, advice := b.advise(err)
	return fmt.Errorf("%w: %s: %s (%w)", kind, op, advice, oneLine{err})
}

// advise returns the kind of an AWS error and what to do about it.
func (b *Bus) advise(err error) (error, string) {
	code, message := apiError(err)
	switch code {
	case "":
		return b.adviseTransport(err)
	case "ConditionalCheckFailedException", "TransactionConflictException", "PreconditionFailed", "ConditionalRequestConflict":
		return store.ErrConflict, "another writer was first"
	case "NoSuchKey", "NotFound":
		return store.ErrNotFound, "there is no such object"
	case "ResourceNotFoundException", "TableNotFoundException", "NoSuchBucket":
		return store.ErrUnavailable, "it is not there; check its name in the bus's configuration and that the bus is deployed in " + b.cfg.Region
	case "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "AuthorizationError", "KMSAccessDeniedException":
		return store.ErrUnavailable, "these credentials have no permission; attach the policy of the bus's stack to their role"
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
		"InvalidAccessKeyId", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "IncompleteSignature":
		return store.ErrUnavailable, "AWS does not accept the credentials; check them, their account and the region " + b.cfg.Region
	case "ExpiredTokenException", "ExpiredToken", "TokenRefreshRequired":
		return store.ErrUnavailable, "the credentials have expired; renew them"
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		return store.ErrUnavailable, "the clock of this machine is wrong; set it"
	case "ItemCollectionSizeLimitExceededException", "EntityTooLarge", "RequestEntityTooLarge", "RequestTooLargeException",
		"RequestEntityTooLargeException":
		return store.ErrTooLarge, "it is over a limit of AWS; split it or put it into a blob"
	case "ValidationException", "SerializationException", "InvalidArgument", "InvalidArgumentException", "InvalidParameter",
		"InvalidParameterValueException", "InvalidRequest", "InvalidRange", "KeyTooLongError":
		if tooLarge(message) {
			return store.ErrTooLarge, "it is over a limit of AWS; split it or put it into a blob"
		}
		return store.ErrInvalid, "AWS refuses the request as it is"
	}
	switch {
	case throttled(code):
		return store.ErrThrottled, "too many requests; wait, or raise its capacity"
	case status(err) >= 500:
		return store.ErrUnavailable, "AWS has failed; try again later"
	}
	return store.ErrUnavailable, "AWS refuses it"
}

// adviseTransport is advise for errors that are no answer of a service.
func (b *Bus) adviseTransport(err error) (error, string) {
	where := "AWS in " + b.cfg.Region
	if b.cfg.BaseEndpoint != nil {
		where = *b.cfg.BaseEndpoint
	}
	if dialing(err) {
		return store.ErrUnavailable, "cannot reach " + where + "; check the network, the region and the endpoint"
	}
	if _, ok := errors.AsType[*noAnswerError](err); ok {
		return store.ErrUnavailable, where + " does not answer; try again later"
	}
	if isTransport(err) {
		return store.ErrUnavailable, "the connection to " + where + " broke; try again later"
	}
	return store.ErrUnavailable, "it cannot be used as it stands; check credentials, region and endpoint"
}

// apiError returns the code and the text of a service's answer, "" if err is none.
func apiError(err error) (code, message string) {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode(), e.ErrorMessage()
	}
	return "", ""
}

// status returns the HTTP status of an answer, 0 if err is none.
func status(err error) int {
	if e, ok := errors.AsType[*awshttp.ResponseError](err); ok {
		return e.HTTPStatusCode()
	}
	return 0
}

// throttled tells whether code asks for fewer requests. The services do not agree on one.
func throttled(code string) bool {
	switch code {
	case "ProvisionedThroughputExceededException", "ProvisionedThroughputExceeded", "ThrottlingException", "Throttling", "ThrottledException",
		"RequestThrottled", "RequestThrottledException", "RequestLimitExceeded", "LimitExceededException", "TooManyRequestsException",
		"SlowDown", "BandwidthLimitExceeded", "PriorRequestNotComplete", "TransactionInProgressException", "KMSThrottlingException",
		"EC2ThrottledException", "ReplicatedWriteConflictException":
		return true
	}
	return false
}

// tooLarge tells whether the text of a validation error is about size: DynamoDB has no code for that.
func tooLarge(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "size") && (strings.Contains(m, "exceed") || strings.Contains(m, "maximum allowed"))
}

// dialing tells whether no connection was made, so that nothing was sent.
func dialing(err error) bool {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// isTransport tells whether err is of the connection and not of the service, the request or this process.
func isTransport(err error) bool {
	if _, ok := errors.AsType[*noAnswerError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	_, ok := errors.AsType[*awshttp.ResponseError](err)
	return ok // An answer that could not be read.
}

// noAnswerError is the error of an attempt that took too long.
type noAnswerError struct{ err error }

// Error says what did not come.
func (e *noAnswerError) Error() string { return "no answer in time" }

// oneLine keeps the text of an error that is shown to people in one line.
type oneLine struct{ err error }

// Error returns the text without line breaks.
func (e oneLine) Error() string { return strings.Join(strings.Fields(e.err.Error()), " ") }

// Unwrap returns the error itself.
func (e oneLine) Unwrap() error { return e.err }

// temporary tells whether trying again may help, and whether what was tried may have been done all the same.
func temporary(err error) (again, lost bool) {
	code, _ := apiError(err)
	switch {
	case throttled(code):
		return true, false
	case code == "InternalServerError" || code == "InternalFailure" || code == "ServiceUnavailable" || code == "ServiceUnavailableException":
		return true, true
	case code == "RequestTimeout" || code == "RequestTimeoutException" || code == "TransactionConflictException":
		return true, false
	case code != "":
		s := status(err)
		return s >= http.StatusInternalServerError, s >= http.StatusInternalServerError
	case dialing(err):
		return true, false
	}
	t := isTransport(err)
	return t, t
}
