package sqlite

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Kinds of rows of the table positions.
const (
	readPosition = iota + 1
	writePosition
	requestedPosition
)

const configColumns = "name, description, owner, invocation, settings, schedule, time_zone, triggers, tags, timeout, delay, extra"

const stateColumns = "paused, archived, ignore_paused, trigger_at, scheduled_trigger, error_count, invoke_time, token, " +
	"progress, progress_requested, stalls, run_token, run_invoke_time, run_request_id, run_start_time, run_max_duration, " +
	"run_completed_time, run_status, run_log, run_result"

var saveStateQuery = "update bots set (" + stateColumns + ") = (" + placeholders(20) + ") where id = ?"

var saveConfigQuery = "update bots set (" + configColumns + ") = (" + placeholders(12) + ") where id = ?"

func placeholders(n int) string { return strings.Repeat("?,", n-1) + "?" }

// stateFields returns where the id and stateColumns of a row go, but for the two JSON columns.
func stateFields(b *store.Bot, progress, requested any) []any {
	i := &b.Instance
	return []any{&b.ID, &b.Paused, &b.Archived, &b.IgnorePaused, &b.Trigger, &b.ScheduledTrigger, &b.ErrorCount,
		&b.InvokeTime, &b.Token, progress, requested, &b.Stalls, &i.Token, &i.InvokeTime, &i.RequestID, &i.StartTime,
		&i.MaxDuration, &i.CompletedTime, &i.Status, &i.Log, &i.Result}
}

// scanState reads the id and the execution state.
func scanState(s scanner, b *store.Bot, more ...any) error {
	var progress, requested string
	if err := s.Scan(append(stateFields(b, &progress, &requested), more...)...); err != nil {
		return err
	}
	return errors.Join(
		decode(b.ID, "progress", progress, &b.Progress), decode(b.ID, "progress", requested, &b.ProgressRequested))
}

func saveState(c *conn, b *store.Bot) error {
	progress, err := encode(b.Progress, len(b.Progress))
	if err != nil {
		return err
	}
	requested, err := encode(b.ProgressRequested, len(b.ProgressRequested))
	if err != nil {
		return err
	}
	i := &b.Instance
	_, err = c.exec(saveStateQuery, b.Paused, b.Archived, b.IgnorePaused, b.Trigger, b.ScheduledTrigger, b.ErrorCount,
		b.InvokeTime, b.Token, progress, requested, b.Stalls, i.Token, i.InvokeTime, i.RequestID, i.StartTime,
		i.MaxDuration, i.CompletedTime, i.Status, i.Log, i.Result, b.ID)
	return err
}

// scanBot reads a whole row but for the positions.
func scanBot(s scanner) (store.Bot, error) {
	var b store.Bot
	var invocation, triggers, tags, extra string
	var settings sql.NullString
	err := scanState(s, &b, &b.Name, &b.Description, &b.Owner, &invocation, &settings, &b.Schedule, &b.TimeZone,
		&triggers, &tags, &b.Timeout, &b.Delay, &extra)
	if err != nil {
		return b, err
	}
	if settings.Valid {
		b.Settings = json.RawMessage(settings.String)
	}
	return b, errors.Join(decode(b.ID, "invocation", invocation, &b.Invocation),
		decode(b.ID, "triggers", triggers, &b.Triggers), decode(b.ID, "tags", tags, &b.Tags),
		decode(b.ID, "extra attributes", extra, &b.Extra))
}

func saveConfig(c *conn, b *store.Bot) error {
	invocation, err := json.Marshal(b.Invocation)
	if err != nil {
		return err
	}
	triggers, err := encode(b.Triggers, len(b.Triggers))
	if err != nil {
		return err
	}
	tags, err := encode(b.Tags, len(b.Tags))
	if err != nil {
		return err
	}
	extra, err := encode(b.Extra, len(b.Extra))
	if err != nil {
		return err
	}
	settings := sql.NullString{String: string(b.Settings), Valid: b.Settings != nil}
	_, err = c.exec(saveConfigQuery, b.Name, b.Description, b.Owner, string(invocation), settings, b.Schedule, b.TimeZone,
		triggers, tags, b.Timeout, b.Delay, extra, b.ID)
	return err
}

// insertBot makes the row if there is none.
func insertBot(c *conn, id, name string, paused bool) error {
	_, err := c.exec("insert or ignore into bots(id, name, paused) values(?, ?, ?)", id, name, paused)
	return err
}

// insertPosition makes the row if there is none.
func insertPosition(c *conn, bot string, kind int, ref string, at store.Checkpoint) error {
	_, err := c.exec("insert or ignore into positions(bot, kind, ref, position, source_timestamp, started_timestamp, "+
		"ended_timestamp, records) values(?,?,?,?,?,?,?,?)",
		bot, kind, ref, at.Position, at.SourceTimestamp, at.StartedTimestamp, at.EndedTimestamp, at.Records)
	return err
}

// encode returns v as JSON, or "" when it has no elements.
func encode(v any, elements int) (string, error) {
	if elements == 0 {
		return "", nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

func decode(bot, what, text string, v any) error {
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("%w: %s of bot %s: %w", store.ErrCorrupt, what, bot, err)
	}
	return nil
}

func loadBot(c *conn, id string) (store.Bot, bool, error) {
	b, err := scanBot(c.row("select id, "+stateColumns+", "+configColumns+" from bots where id = ?", id))
	if errors.Is(err, sql.ErrNoRows) {
		return store.Bot{}, false, nil
	}
	if err != nil {
		return b, false, err
	}
	return b, true, loadPositions(c, id, id, func(string) *store.Bot { return &b })
}

func loadBots(c *conn, after string, limit int) ([]store.Bot, error) {
	rows, err := c.query("select id, "+stateColumns+", "+configColumns+" from bots where id > ? order by id limit ?",
		after, sqlLimit(limit))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []store.Bot
	byID := map[string]int{}
	for rows.Next() {
		b, err := scanBot(rows)
		if err != nil {
			return nil, err
		}
		byID[b.ID] = len(out)
		out = append(out, b)
	}
	if err := rows.Err(); err != nil || len(out) == 0 {
		return nil, err
	}
	return out, loadPositions(c, out[0].ID, out[len(out)-1].ID, func(id string) *store.Bot {
		if i, ok := byID[id]; ok {
			return &out[i]
		}
		return nil
	})
}

// loadPositions adds the positions of the bots with ids from first to last to the rows that row finds.
func loadPositions(c *conn, first, last string, row func(id string) *store.Bot) error {
	rows, err := c.query("select bot, kind, ref, position, source_timestamp, started_timestamp, ended_timestamp, records "+
		"from positions where bot >= ? and bot <= ?", first, last)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var bot, ref string
		var kind int
		var at store.Checkpoint
		err := rows.Scan(&bot, &kind, &ref, &at.Position, &at.SourceTimestamp, &at.StartedTimestamp, &at.EndedTimestamp, &at.Records)
		if err != nil {
			return err
		}
		b := row(bot)
		if b == nil {
			continue
		}
		switch kind {
		case readPosition:
			put(&b.Read, ref, at)
		case writePosition:
			put(&b.Write, ref, at)
		case requestedPosition:
			put(&b.Requested, ref, at.Position)
		}
	}
	return rows.Err()
}

func put[V any](m *map[string]V, key string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = v
}
