package rules

import (
	"fmt"
	"unicode/utf8"

	"github.com/rstreams-go/rstreams/bus/store"
)

// maxBlobKey is the most bytes an object's key may have on S3.
const maxBlobKey = 1024

// BlobKey says why a backend must refuse to store a blob under key, or nil. What S3 takes, every backend takes.
func BlobKey(key string) error {
	if key == "" || len(key) > maxBlobKey || !utf8.ValidString(key) {
		return fmt.Errorf("%w blob key %.40q: it needs 1 to %d bytes of UTF-8", store.ErrInvalid, key, maxBlobKey)
	}
	return nil
}
