package sqlite

import (
	"context"
	"database/sql"
	"errors"
)

// background is the context of statements. They are short, and a context that can end would cost each a goroutine: the
// callers check theirs between statements and wherever they wait.
var background = context.Background()

// conn is a connection with its prepared statements. One goroutine uses it at a time.
type conn struct {
	c     *sql.Conn
	stmts map[string]*sql.Stmt
}

func newConn(ctx context.Context, db *sql.DB) (*conn, error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{c: c, stmts: map[string]*sql.Stmt{}}, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.c.Close())...)
}

// run executes statements that are not worth preparing.
func (c *conn) run(script string) error {
	_, err := c.c.ExecContext(background, script)
	return err
}

// scan reads the one row of a query that is not worth preparing.
func (c *conn) scan(query string, dest ...any) error {
	return c.c.QueryRowContext(background, query).Scan(dest...)
}

// prepared returns query as a prepared statement. Queries are constants, so the map stays small.
func (c *conn) prepared(query string) (*sql.Stmt, error) {
	if s, ok := c.stmts[query]; ok {
		return s, nil
	}
	s, err := c.c.PrepareContext(background, query)
	if err == nil {
		c.stmts[query] = s
	}
	return s, err
}

// exec runs a prepared statement and returns how many rows it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.prepared(query)
	if err != nil {
		return 0, err
	}
	res, err := s.ExecContext(background, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (c *conn) query(query string, args ...any) (*sql.Rows, error) {
	s, err := c.prepared(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(background, args...)
}

// row is the first row of a query, or why there is none.
type row struct {
	r   *sql.Row
	err error
}

func (c *conn) row(query string, args ...any) row {
	s, err := c.prepared(query)
	if err != nil {
		return row{err: err}
	}
	return row{r: s.QueryRowContext(background, args...)}
}

// Scan returns sql.ErrNoRows where there is no row.
func (r row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.r.Scan(dest...)
}
