package aws

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Limits of BatchExecuteStatement: statements in a request, and characters of one.
const (
	maxStatements = 25
	maxStatement  = 8192
)

// apartTime is how long rows are written apart after AWS has refused to write them together.
const apartTime = time.Minute

// jointWrite is a conditional update of one row that may share a request with those of others.
type jointWrite struct {
	id string
	u  *update
	// done tells that it was carried out. Otherwise it may have been, unless failed is set.
	done bool
	// failed tells that the condition did not hold; then seen is the row, nil if there is none.
	failed bool
	seen   item
}

// writeTogether tries to carry out updates of different rows, as many in one request as there may be: each has its own condition
// and outcome, and costs what an UpdateItem of it costs. It is a shortcut, tried once: whatever is not done afterwards, for
// whatever reason, must be written by itself. PartiQL is DynamoDB's only way to update several rows at once outside a transaction,
// which would cost twice as much and fail as a whole. Unlike UpdateItem it makes no new rows.
func (t table) writeTogether(ctx context.Context, writes []*jointWrite) {
	if t.ready() != nil || t.bus.alive(ctx) != nil || time.Now().UnixMilli() < t.bus.apartUntil.Load() {
		return
	}
	var requests []ddb.BatchStatementRequest
	var sent []*jointWrite
	for _, w := range writes {
		text, params, ok := t.statement(w.id, w.u)
		if !ok {
			continue
		}
		sent = append(sent, w)
		requests = append(requests, ddb.BatchStatementRequest{
			Statement: &text, Parameters: params,
			ReturnValuesOnConditionCheckFailure: ddb.ReturnValuesOnConditionCheckFailureAllOld,
		})
	}
	for len(sent) > 1 {
		n := min(len(sent), maxStatements)
		t.execute(ctx, requests[:n], sent[:n])
		requests, sent = requests[n:], sent[n:]
	}
}

// execute makes one request.
func (t table) execute(ctx context.Context, requests []ddb.BatchStatementRequest, writes []*jointWrite) {
	var out *dynamodb.BatchExecuteStatementOutput
	err := t.bus.attempt(ctx, true, func(ctx context.Context) (err error) {
		out, err = t.bus.dynamo().BatchExecuteStatement(ctx, &dynamodb.BatchExecuteStatementInput{Statements: requests})
		return err
	})
	if err != nil {
		if again, _ := temporary(err); !again && t.bus.alive(ctx) == nil {
			t.bus.apartUntil.Store(time.Now().Add(apartTime).UnixMilli())
			t.bus.o.Logger.WarnContext(ctx, "rows are written one by one for a while, at more requests", "table", t.name, "pause", apartTime,
				"error", t.bus.classify(t.op("write to"), err))
		}
		return
	}
	for i, r := range out.Responses {
		if i >= len(writes) {
			break
		}
		switch w := writes[i]; {
		case r.Error == nil:
			w.done = true
		case r.Error.Code == ddb.BatchStatementErrorCodeEnumConditionalCheckFailed:
			w.failed, w.seen = true, r.Error.Item
		}
	}
}

// Parts of the expressions that an update writes.
var (
	namePart   = regexp.MustCompile(`#\d+`)
	valuePart  = regexp.MustCompile(`:\d+`)
	existsPart = regexp.MustCompile(`attribute_(not_)?exists\(([^()]*)\)`)
)

// statement returns an update of the row with that key as a PartiQL statement with its parameters. ok is false for what that cannot
// say.
func (t table) statement(id string, u *update) (text string, params []value, ok bool) {
	if u.create != nil || len(u.adds) > 0 {
		return "", nil, false
	}
	names := make(map[string]string, len(u.names))
	for name, placeholder := range u.names {
		names[placeholder] = quoted(name)
	}
	// say puts names and parameters in the place of their placeholders. Parameters are by position.
	say := func(expression string) string {
		expression = existsPart.ReplaceAllStringFunc(expression, func(call string) string {
			parts := existsPart.FindStringSubmatch(call)
			if parts[1] != "" {
				return parts[2] + " IS MISSING"
			}
			return parts[2] + " IS NOT MISSING"
		})
		expression = valuePart.ReplaceAllStringFunc(expression, func(placeholder string) string {
			params = append(params, u.values[placeholder])
			return "?"
		})
		return namePart.ReplaceAllStringFunc(expression, func(placeholder string) string { return names[placeholder] })
	}
	var b strings.Builder
	b.WriteString("UPDATE " + quoted(t.name))
	for _, a := range u.sets {
		if strings.Contains(a.text, "if_not_exists") {
			return "", nil, false
		}
		b.WriteString(" SET " + say(a.text))
	}
	for _, r := range u.removes {
		b.WriteString(" REMOVE " + say(r))
	}
	params = append(params, str(id))
	b.WriteString(" WHERE " + quoted(t.key) + "=?")
	own := "attribute_exists(" + u.names[t.key] + ")" // It makes no rows anyway.
	for _, c := range u.conds {
		if c != own {
			b.WriteString(" AND " + say(c))
		}
	}
	if b.Len() > maxStatement || len(u.sets)+len(u.removes) == 0 {
		return "", nil, false
	}
	return b.String(), params, true
}

// quoted returns a name as PartiQL has it.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
