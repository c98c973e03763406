package aws

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// An upload holds at most (uploadParallel+1) parts in memory. S3 takes 10,000 parts, so that a blob has 80 GB at most.
const (
	partBytes      = 8 << 20
	maxParts       = 10_000
	uploadParallel = 2
)

// abortTimeout is how long an upload that failed may take to be taken back, also after the caller's context has ended.
const abortTimeout = 10 * time.Second

// Put implements store.Blobs. What fits one part is sent in one request, and anything else in parts of 8 MiB while r is read:
// S3 shows none of it before the last one. An upload that fails is aborted; if even that fails, the bucket's lifecycle rule for
// incomplete uploads ends it.
func (s *blobs) Put(ctx context.Context, key string, r io.Reader) (store.BlobRef, int64, error) {
	if err := rules.BlobKey(key); err != nil {
		return store.BlobRef{}, 0, err
	}
	ctx, cancel, err := s.bus.bound(ctx)
	if err != nil {
		return store.BlobRef{}, 0, err
	}
	defer cancel()
	ref := store.BlobRef{Bucket: *s.bucket(), Key: key}
	first, last, err := readPart(ctx, key, r)
	if err != nil {
		return store.BlobRef{}, 0, err
	}
	if last {
		_, err := s.client().PutObject(ctx, &s3.PutObjectInput{Bucket: s.bucket(), Key: &key, Body: bytes.NewReader(first)})
		if err != nil {
			return store.BlobRef{}, 0, s.classify("put blob "+key, err)
		}
		return ref, int64(len(first)), nil
	}
	up, err := s.client().CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: s.bucket(), Key: &key})
	if err != nil {
		return store.BlobRef{}, 0, s.classify("put blob "+key, err)
	}
	u := &upload{blobs: s, key: key, id: up.UploadId}
	if err := u.run(ctx, first, r); err != nil {
		return store.BlobRef{}, 0, u.abort(ctx, err)
	}
	return ref, u.size, nil
}

// readPart reads up to a part, and tells whether it is the last one. The memory that it takes is that of what it reads.
func readPart(ctx context.Context, key string, r io.Reader) (data []byte, last bool, err error) {
	var buf bytes.Buffer
	if sized, ok := r.(interface{ Len() int }); ok {
		buf.Grow(min(sized.Len(), partBytes) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(&contextReader{ctx, r}, partBytes))
	if err != nil {
		return nil, false, fmt.Errorf("read blob %s: %w", key, err)
	}
	if n < partBytes {
		return buf.Bytes(), true, nil
	}
	return buf.Bytes(), false, nil
}

// contextReader ends with the context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// upload is a multipart upload.
type upload struct {
	blobs *blobs
	key   string
	id    *string
	size  int64
	parts []*s3types.CompletedPart
}

// run sends first and what r still holds, and completes the upload.
func (u *upload) run(ctx context.Context, first []byte, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(uploadParallel)
	reading := u.read(sending, g, first, r)
	if reading != nil && sending.Err() == nil {
		cancel()
		_ = g.Wait() // They were told to stop.
		return reading
	}
	if err := g.Wait(); err != nil {
		return u.blobs.classify("put blob "+u.key, err)
	}
	if reading != nil {
		return reading
	}
	return u.complete(ctx)
}

// read hands the parts to g, as it takes them.
func (u *upload) read(ctx context.Context, g *errgroup.Group, data []byte, r io.Reader) error {
	for last := false; ; {
		if len(data) > 0 {
			if len(u.parts) == maxParts {
				return fmt.Errorf("put blob %s: %w: it has more than %d bytes", u.key, store.ErrTooLarge, int64(maxParts)*partBytes)
			}
			u.size += int64(len(data))
			part := &s3types.CompletedPart{PartNumber: awssdk.Int32(int32(len(u.parts) + 1))}
			u.parts = append(u.parts, part)
			body := data // The next part is read while this one is sent.
			g.Go(func() error { return u.send(ctx, part, body) })
		}
		if last {
			return nil
		}
		var err error
		if data, last, err = readPart(ctx, u.key, r); err != nil {
			return err
		}
	}
}

// send uploads a part and notes what the completion must tell of it.
func (u *upload) send(ctx context.Context, part *s3types.CompletedPart, data []byte) error {
	out, err := u.blobs.client().UploadPart(ctx, &s3.UploadPartInput{
		Bucket: u.blobs.bucket(), Key: &u.key, UploadId: u.id, PartNumber: part.PartNumber, Body: bytes.NewReader(data),
	})
	if err != nil {
		return err
	}
	part.ETag, part.ChecksumCRC32 = out.ETag, out.ChecksumCRC32
	return nil
}

// complete makes the object visible.
func (u *upload) complete(ctx context.Context) error {
	in := &s3.CompleteMultipartUploadInput{
		Bucket: u.blobs.bucket(), Key: &u.key, UploadId: u.id, MultipartUpload: &s3types.CompletedMultipartUpload{},
	}
	for _, p := range u.parts {
		in.MultipartUpload.Parts = append(in.MultipartUpload.Parts, *p)
	}
	_, err := u.blobs.client().CompleteMultipartUpload(ctx, in)
	if code, _ := apiError(err); code == "NoSuchUpload" {
		// The client asked again because an answer was lost: then the upload is done, and its object is there.
		head, headErr := u.blobs.client().HeadObject(ctx, &s3.HeadObjectInput{Bucket: u.blobs.bucket(), Key: &u.key})
		if headErr == nil && awssdk.ToInt64(head.ContentLength) == u.size {
			return nil
		}
	}
	if err != nil {
		return u.blobs.classify("put blob "+u.key, err)
	}
	return nil
}

// abort takes the upload back after err, which it returns.
func (u *upload) abort(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	_, failed := u.blobs.client().AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: u.blobs.bucket(), Key: &u.key, UploadId: u.id,
	})
	if failed != nil {
		u.blobs.bus.o.Logger.WarnContext(ctx, "an upload that failed is left unfinished in the bucket", "bucket", *u.blobs.bucket(),
			"key", u.key, "error", failed)
	}
	return err
}
