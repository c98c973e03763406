package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/rstreams-go/rstreams/bus/store"
)

// code returns SQLite's primary result code of err, or 0.
func code(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// isBusy tells whether another connection's lock is the cause, so that waiting may help.
func isBusy(err error) bool {
	if err == nil {
		return false
	}
	c := code(err)
	return c == lib.SQLITE_BUSY || c == lib.SQLITE_LOCKED
}

// isDatabase tells whether err came from SQLite or database/sql, not from a rule of ours.
func isDatabase(err error) bool {
	return err != nil && (code(err) != 0 || errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone))
}

// mapError turns an error of SQLite into one of package store that says in one line what to do. Others pass.
func (d *DB) mapError(err error) error {
	if err == nil {
		return nil
	}
	var kind error
	var advice string
	switch code(err) {
	case 0:
		return err
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_PROTOCOL:
		kind, advice = store.ErrUnavailable, fmt.Sprintf(
			"another program has kept %s locked for more than %v: stop it, or wait for it to finish", d.path, d.o.BusyTimeout)
	case lib.SQLITE_FULL:
		kind, advice = store.ErrUnavailable, fmt.Sprintf("no space left for %s: free some on its disk", d.path)
	case lib.SQLITE_READONLY, lib.SQLITE_PERM:
		kind, advice = store.ErrUnavailable, fmt.Sprintf(
			"%s is read-only: make it and its directory writable for this user", d.path)
	case lib.SQLITE_CANTOPEN:
		kind, advice = store.ErrUnavailable, fmt.Sprintf(
			"cannot open %s: check that its directory exists, and that this user may read and write both", d.path)
	case lib.SQLITE_IOERR:
		kind, advice = store.ErrUnavailable, fmt.Sprintf(
			"reading or writing %s failed: check its disk, and that it is not on a network file system", d.path)
	case lib.SQLITE_NOTADB:
		kind, advice = store.ErrCorrupt, fmt.Sprintf(
			"%s is not a database: choose another directory, or remove the file if it is of no use", d.path)
	case lib.SQLITE_CORRUPT:
		kind, advice = store.ErrCorrupt, fmt.Sprintf(
			"%s is damaged: stop the bus, copy its directory, then restore a backup or try sqlite3's .recover", d.path)
	case lib.SQLITE_TOOBIG:
		kind, advice = store.ErrTooLarge, d.path
	default:
		return fmt.Errorf("%s: %w", d.path, err)
	}
	return fmt.Errorf("%w: %s (%w)", kind, advice, err)
}

// fileError does the same for an error of the file system while doing what the words say.
func (d *DB) fileError(doing string, err error) error {
	advice := "check that the directory is usable for this user"
	switch {
	case errors.Is(err, syscall.ENOSPC):
		advice = "no space is left: free some on the disk"
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		advice = "make " + d.dir + " writable for this user"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		advice = "there is a file where " + d.dir + " should be a directory: choose another directory for the bus"
	}
	return fmt.Errorf("%w: cannot %s: %s (%w)", store.ErrUnavailable, doing, advice, err)
}
