package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// How S3 is used. Requests for data may take long, so that they are not bounded in time as those of other services are, but by
// attempts, and by how long nothing comes: an answer (silence), or more of it (stalled).
const (
	blobAttempts = 8
	stalled      = 60 * time.Second
	// Pages of S3.
	listPage   = 1000
	deletePage = 1000
)

// blobs is the bus's bucket.
//
// A missing object is ErrNotFound and stays missing: unlike the original SDK (sdk.md 3.6), a reader does not complete somebody's
// unfinished upload, because a reader that comes early would publish the half that is there. Pointers are written after uploads
// are complete, so nothing is waiting for that.
type blobs struct {
	bus    *Bus
	client func() *s3.Client
}

func newBlobs(b *Bus) store.Blobs {
	return &blobs{bus: b, client: sync.OnceValue(func() *s3.Client { return newS3(b) })}
}

// newS3 returns a client. Emulators have no names for buckets, so that they are addressed by path.
func newS3(b *Bus, options ...func(*s3.Options)) *s3.Client {
	usual := func(o *s3.Options) {
		if b.o.Endpoint != "" {
			o.BaseEndpoint = &b.o.Endpoint // An option counts for more than the environment.
		}
		o.UsePathStyle = o.BaseEndpoint != nil
		o.HTTPClient = &watched{o.HTTPClient, silence}
		o.DisableLogOutputChecksumValidationSkipped = true // Ranges have none, which is nothing to tell an operator.
		o.Retryer = retry.NewStandard(func(r *retry.StandardOptions) {
			r.MaxAttempts, r.MaxBackoff = blobAttempts, maxPause
		})
	}
	return s3.NewFromConfig(b.cfg, append([]func(*s3.Options){usual}, options...)...)
}

func (s *blobs) bucket() *string { return &s.bus.o.Resources.LeoS3 }

// Get implements store.Blobs. The reader asks again, from where it is, when a connection breaks; it fails if the object was
// replaced meanwhile.
func (s *blobs) Get(ctx context.Context, ref store.BlobRef, offset, length int64) (io.ReadCloser, error) {
	switch {
	case ref.Bucket != *s.bucket():
		return nil, fmt.Errorf("%w bucket %q: this bus has %q", store.ErrInvalid, ref.Bucket, *s.bucket())
	case offset < 0:
		return nil, fmt.Errorf("%w range: the offset in blob %s is %d", store.ErrInvalid, ref.Key, offset)
	}
	if err := rules.BlobKey(ref.Key); err != nil {
		return nil, err
	}
	ctx, cancel, err := s.bus.bound(ctx)
	if err != nil {
		return nil, err
	}
	if length == 0 {
		defer cancel()
		return s.empty(ctx, ref.Key, offset)
	}
	r := &blobReader{ctx: ctx, cancel: cancel, blobs: s, key: ref.Key, at: offset, end: math.MaxInt64}
	if length > 0 && length < math.MaxInt64-offset {
		r.end = offset + length
	}
	err = r.open()
	if err == nil {
		return r, nil
	}
	defer cancel()
	if code, _ := apiError(err); code == "InvalidRange" {
		return s.empty(ctx, ref.Key, offset)
	}
	return nil, s.classify("get blob "+ref.Key, err)
}

// empty returns a reader of nothing if the object is there and has the offset.
func (s *blobs) empty(ctx context.Context, key string, offset int64) (io.ReadCloser, error) {
	head, err := s.client().HeadObject(ctx, &s3.HeadObjectInput{Bucket: s.bucket(), Key: &key})
	if err != nil {
		return nil, s.classify("get blob "+key, err)
	}
	if size := awssdk.ToInt64(head.ContentLength); offset > size {
		return nil, fmt.Errorf("%w range: blob %s has %d bytes, offset is %d", store.ErrInvalid, key, size, offset)
	}
	return io.NopCloser(strings.NewReader("")), nil
}

// classify makes a missing object ErrNotFound; a missing bucket is for the bus to explain.
func (s *blobs) classify(op string, err error) error {
	if closed := s.bus.alive(context.Background()); closed != nil {
		return closed
	}
	switch code, _ := apiError(err); code {
	case "NoSuchKey", "NotFound":
		return fmt.Errorf("%s: %w", op, store.ErrNotFound)
	}
	return s.bus.classify(op+" in bucket "+*s.bucket(), err)
}

// maxReopen is how often a reader asks again without getting any further.
const maxReopen = 3

// blobReader reads a range of an object.
type blobReader struct {
	ctx     context.Context
	cancel  context.CancelFunc
	blobs   *blobs
	key     string
	etag    *string // of the object that was opened
	at, end int64   // what is left; end may be beyond the object
	body    io.ReadCloser
	abort   context.CancelFunc // of the request whose body it is
	failed  int                // attempts since the last byte
}

// open asks for what is left.
func (r *blobReader) open() error {
	in := &s3.GetObjectInput{Bucket: r.blobs.bucket(), Key: &r.key, IfMatch: r.etag}
	switch {
	case r.end != math.MaxInt64:
		in.Range = awssdk.String("bytes=" + strconv.FormatInt(r.at, 10) + "-" + strconv.FormatInt(r.end-1, 10))
	case r.at > 0:
		in.Range = awssdk.String("bytes=" + strconv.FormatInt(r.at, 10) + "-")
	}
	ctx, abort := context.WithCancel(r.ctx)
	out, err := r.blobs.client().GetObject(ctx, in)
	if err != nil {
		abort()
		return err
	}
	r.body, r.abort, r.etag = out.Body, abort, out.ETag
	if n := out.ContentLength; n != nil { // Tells a broken connection from the end of the object.
		r.end = r.at + *n
	}
	return nil
}

// Read implements io.Reader.
func (r *blobReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if r.ctx.Err() != nil {
			return 0, r.blobs.classify("read blob "+r.key, context.Cause(r.ctx))
		}
		if r.at == r.end {
			return 0, io.EOF
		}
		watchdog := time.AfterFunc(stalled, r.abort)
		n, err := r.body.Read(p)
		watchdog.Stop()
		r.at += int64(n)
		switch {
		case n > 0:
			r.failed = 0
			return n, nil // What follows is met by the next call.
		case err == nil:
			continue
		case errors.Is(err, io.EOF) && r.end == math.MaxInt64:
			return 0, io.EOF
		case errors.Is(err, io.EOF):
			err = io.ErrUnexpectedEOF
		}
		if r.failed++; r.failed > maxReopen {
			return 0, r.blobs.classify("read blob "+r.key, err)
		}
		r.abort()
		_ = r.body.Close() // It is broken.
		end := r.end
		if err := r.open(); err != nil {
			return 0, r.blobs.classify("read blob "+r.key, err)
		}
		r.end = end
	}
}

// Close implements io.Closer.
func (r *blobReader) Close() error {
	r.cancel()
	return r.body.Close()
}

// Delete implements store.Blobs.
func (s *blobs) Delete(ctx context.Context, keys []string) error {
	ctx, cancel, err := s.bus.bound(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	var batch []s3types.ObjectIdentifier
	for _, key := range keys {
		if err := rules.BlobKey(key); err != nil {
			return err
		}
		if strings.ContainsFunc(key, unicode.IsControl) { // A list is XML, which cannot hold these.
			if _, err := s.client().DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: s.bucket(), Key: &key}); err != nil {
				return s.classify("delete blob "+key, err)
			}
			continue
		}
		batch = append(batch, s3types.ObjectIdentifier{Key: &key})
	}
	var errs []error
	for page := range slices.Chunk(batch, deletePage) {
		out, err := s.client().DeleteObjects(ctx, &s3.DeleteObjectsInput{
			Bucket: s.bucket(), Delete: &s3types.Delete{Objects: page, Quiet: awssdk.Bool(true)},
		})
		if err != nil {
			return s.classify("delete blobs", err)
		}
		for _, e := range out.Errors {
			if awssdk.ToString(e.Code) != "NoSuchKey" {
				errs = append(errs, fmt.Errorf("delete blob %s: %w: %s: %s", awssdk.ToString(e.Key), errorKind(awssdk.ToString(e.Code)),
					awssdk.ToString(e.Code), flat(awssdk.ToString(e.Message))))
			}
		}
	}
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return fmt.Errorf("%d blobs are not deleted, first: %w", len(errs), errs[0])
}

// errorKind is the kind of the failure of one object of a call.
func errorKind(code string) error {
	switch code {
	case "SlowDown", "InternalError", "ServiceUnavailable":
		return store.ErrThrottled
	}
	return store.ErrUnavailable
}

// List implements store.Blobs. A limit of 0 means a thousand.
func (s *blobs) List(ctx context.Context, prefix, after string, limit int) ([]store.BlobInfo, error) {
	ctx, cancel, err := s.bus.bound(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if limit <= 0 {
		limit = listPage
	}
	in := &s3.ListObjectsV2Input{Bucket: s.bucket(), Prefix: &prefix}
	if after != "" {
		in.StartAfter = &after
	}
	var out []store.BlobInfo
	for {
		in.MaxKeys = awssdk.Int32(int32(min(limit-len(out), listPage)))
		page, err := s.client().ListObjectsV2(ctx, in)
		if err != nil {
			return nil, s.classify("list blobs", err)
		}
		for _, o := range page.Contents {
			out = append(out, store.BlobInfo{Key: awssdk.ToString(o.Key), Size: awssdk.ToInt64(o.Size)})
		}
		if len(out) >= limit || !awssdk.ToBool(page.IsTruncated) || page.NextContinuationToken == nil {
			return out, nil
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}
