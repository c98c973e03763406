package sqlite

import (
	"crypto/rand"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
)

// applicationID marks the file as a bus ("RSTR"). version is that of the schema below; a program refuses files of a newer
// one, and brings older ones up to its own when it opens them.
const (
	applicationID = 0x52535452
	version       = 3
)

// schema makes the tables of version 1; upgrades makes those of the later ones. Rows of chunks hold up to 390 KB, so chunks is a rowid table: its tree is in the order of
// arrival, and the index by queue and end stays small. Positions, requested heads among them, are rows of their own: a
// checkpoint touches one small row whatever else the bot's row holds. changes has one row for each changed queue and bot,
// moved to the end by each change: it needs no trimming, and no cursor gets too old.
const schema = `
create table meta(name text primary key, value text not null) without rowid;

create table chunks(
	id integer primary key,
	queue text not null,
	end text not null,
	start text not null,
	records integer not null,
	size integer not null,
	gzip_size integer not null,
	expires integer not null,
	prev text not null,
	blob text,
	extra text,
	gzip blob
);
create unique index chunks_by_end on chunks(queue, end);
create index chunks_by_expiry on chunks(expires) where expires > 0;
create index chunks_by_blob on chunks(blob) where blob is not null;

create table queues(
	name text primary key,
	head text not null,
	timestamp integer not null,
	archive_end text not null,
	snapshot_start text not null,
	snapshot_next text not null,
	skip_archive integer not null,
	owner text not null,
	lease integer not null,
	fence integer not null,
	base integer not null,
	open integer not null,
	shard text not null,
	first text not null,
	through text not null
) without rowid;

create table bots(
	n integer primary key,
	id text not null unique,
	name text not null default '',
	description text not null default '',
	owner text not null default '',
	invocation text not null default '',
	settings text,
	schedule text not null default '',
	time_zone text not null default '',
	triggers text not null default '',
	tags text not null default '',
	timeout integer not null default 0,
	delay integer not null default 0,
	paused integer not null default 0,
	archived integer not null default 0,
	ignore_paused integer not null default 0,
	trigger_at integer not null default 0,
	scheduled_trigger integer not null default 0,
	error_count integer not null default 0,
	invoke_time integer not null default 0,
	token integer not null default 0,
	progress text not null default '',
	progress_requested text not null default '',
	stalls integer not null default 0,
	run_token integer not null default 0,
	run_invoke_time integer not null default 0,
	run_request_id text not null default '',
	run_start_time integer not null default 0,
	run_max_duration integer not null default 0,
	run_completed_time integer not null default 0,
	run_status text not null default '',
	run_log blob,
	run_result blob
);

create table positions(
	bot text not null,
	kind integer not null,
	ref text not null,
	position text not null,
	source_timestamp integer not null default 0,
	started_timestamp integer not null default 0,
	ended_timestamp integer not null default 0,
	records integer not null default 0,
	primary key(bot, kind, ref)
) without rowid;

create table settings(id text primary key, value text not null) without rowid;
create table locks(name text primary key, owner text not null, expires integer not null) without rowid;
create table blobs(key text primary key, file text not null unique, size integer not null) without rowid;

create table changes(seq integer primary key, kind integer not null, id text not null, unique(kind, id));
`

// upgrades returns what makes a file of version from one of the version after it.
func upgrades(from int) string {
	switch from {
	case 1:
		return `
create table systems(id text primary key, doc text not null) without rowid;
alter table bots add column extra text not null default '';
`
	case 2:
		return `
alter table queues add column paths text not null default '';
`
	}
	return ""
}

// migrate makes the tables of an empty file, brings those of an older version up to this one, and refuses files that are not ours or too new.
func (d *DB) migrate(c *conn) error {
	for _, begin := range []string{"begin", "begin immediate"} { // look first, without a lock
		done, err := d.migrateIn(c, begin)
		if done || err != nil {
			return err
		}
	}
	return nil
}

// migrateIn looks at the file in one transaction, as another process may be making it, and makes the tables if it may.
func (d *DB) migrateIn(c *conn, begin string) (done bool, err error) {
	if err := c.run(begin); err != nil {
		return false, err
	}
	defer func() {
		if err == nil {
			err = c.run("commit")
		}
		if err != nil {
			_ = c.run("rollback")
		}
	}()
	have, err := d.current(c)
	if done = have == version; done || err != nil || begin == "begin" {
		return done, err
	}
	if have == 0 {
		if err := c.run(schema); err != nil {
			return false, err
		}
		if _, err := c.exec("insert into meta values('id', ?)", rand.Text()[:8]); err != nil {
			return false, err
		}
		have = 1
	}
	for ; have < version; have++ {
		if err := c.run(upgrades(have)); err != nil {
			return false, err
		}
	}
	return true, c.run(fmt.Sprintf("pragma application_id=%d; pragma user_version=%d", applicationID, version))
}

// current returns the version of the file's schema, 0 for an empty file.
func (d *DB) current(c *conn) (int, error) {
	var app, have, tables int
	if err := c.scan("pragma application_id", &app); err != nil {
		return 0, err
	}
	if err := c.scan("pragma user_version", &have); err != nil {
		return 0, err
	}
	if err := c.scan("select count(*) from sqlite_schema", &tables); err != nil {
		return 0, err
	}
	switch {
	case app == 0 && have == 0 && tables == 0:
		return 0, nil
	case app != applicationID:
		return 0, fmt.Errorf("%w: %s is a database of another program: choose another directory for the bus",
			store.ErrUnavailable, d.path)
	case have > version:
		return 0, fmt.Errorf("%w: %s was written by a newer version of rstreams (schema %d, this one knows %d): "+
			"upgrade this program", store.ErrUnavailable, d.path, have, version)
	}
	return have, nil
}
