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
		return fmt.Errorf("%s: %w", op, oneLineError{err})
	}
	advice, kind := b.advise(err)
	return fmt.Errorf("%w: %s: %s (%w)", kind, op, advice, oneLineError{err})
}

// advise returns what to do about an AWS error, and its kind.
func (b *Bus) advise(err error) (advice string, kind error) {
	code, message := apiError(err)
	switch code {
	case "":
		return b.adviseTransport(err)
	case "ConditionalCheckFailedException", "TransactionConflictException", "PreconditionFailed", "ConditionalRequestConflict":
		return "another writer was first", store.ErrConflict
	case "NoSuchKey", "NotFound":
		return "there is no such object", store.ErrNotFound
	case "ResourceNotFoundException", "TableNotFoundException", "NoSuchBucket":
		return "it is not there; check its name in the bus's configuration and that the bus is deployed in " + b.cfg.Region, store.ErrUnavailable
	case "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "AuthorizationError", "KMSAccessDeniedException":
		return "these credentials have no permission; attach the policy of the bus's stack to their role", store.ErrUnavailable
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
		"InvalidAccessKeyId", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "IncompleteSignature":
		return "AWS does not accept the credentials; check them, their account and the region " + b.cfg.Region, store.ErrUnavailable
	case "ExpiredTokenException", "ExpiredToken", "TokenRefreshRequired":
		return "the credentials have expired; renew them", store.ErrUnavailable
	case "RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture":
		return "the clock of this machine is wrong; set it", store.ErrUnavailable
	case "ItemCollectionSizeLimitExceededException", "EntityTooLarge", "RequestEntityTooLarge", "RequestTooLargeException",
		"RequestEntityTooLargeException":
		return "it is over a limit of AWS; split it or put it into a blob", store.ErrTooLarge
	case "ValidationException", "SerializationException", "InvalidArgument", "InvalidArgumentException", "InvalidParameter",
		"InvalidParameterValueException", "InvalidRequest", "InvalidRange", "KeyTooLongError":
		if tooLarge(message) {
			return "it is over a limit of AWS; split it or put it into a blob", store.ErrTooLarge
		}
		return "AWS refuses the request as it is", store.ErrInvalid
	}
	switch {
	case throttled(code):
		return "too many requests; wait, or raise its capacity", store.ErrThrottled
	case status(err) >= 500:
		return "AWS has failed; try again later", store.ErrUnavailable
	}
	return "AWS refuses it", store.ErrUnavailable
}

// adviseTransport is advise for errors that are no answer of a service.
func (b *Bus) adviseTransport(err error) (advice string, kind error) {
	where := "AWS in " + b.cfg.Region
	if b.cfg.BaseEndpoint != nil {
		where = *b.cfg.BaseEndpoint
	}
	if dialing(err) {
		return "cannot reach " + where + "; check the network, the region and the endpoint", store.ErrUnavailable
	}
	if _, ok := errors.AsType[*noAnswerError](err); ok {
		return where + " does not answer; try again later", store.ErrUnavailable
	}
	if isTransport(err) {
		return "the connection to " + where + " broke; try again later", store.ErrUnavailable
	}
	return "it cannot be used as it stands; check credentials, region and endpoint", store.ErrUnavailable
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

// oneLineError keeps the text of an error that is shown to people in one line.
type oneLineError struct{ err error }

// Error returns the text without line breaks.
func (e oneLineError) Error() string { return strings.Join(strings.Fields(e.err.Error()), " ") }

// Unwrap returns the error itself.
func (e oneLineError) Unwrap() error { return e.err }

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
