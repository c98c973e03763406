package aws

import (
	"fmt"
	"slices"
	"testing"
)

// A listing that began later sees all that was there when it began, whatever an earlier and slower one leaves behind (W-P13): the table
// of triggers is made from such a list.
func TestASlowListingDoesNotHideRowsFromALaterOne(t *testing.T) {
	items := func(ids ...string) reply {
		var rows []any
		for _, id := range ids {
			rows = append(rows, map[string]any{"id": map[string]string{"S": id}})
		}
		return reply{body: map[string]any{"Items": rows}}
	}
	begun, goOn := make(chan struct{}), make(chan struct{})
	b, _ := openService(t, func(n int, _ call) reply {
		if n == 0 {
			close(begun)
			<-goOn
			return items("a", "b", "c")
		}
		return items("a", "b", "c", "d")
	})
	bots := b.Store().Bots
	slow := make(chan error, 1)
	go func() {
		page, err := bots.List(t.Context(), "", 2)
		if err == nil && len(page) != 2 {
			err = fmt.Errorf("%d rows", len(page))
		}
		slow <- err
	}()
	<-begun // The row d is stored now.
	var got []string
	for after := ""; ; {
		page, err := bots.List(t.Context(), after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range page {
			got = append(got, row.ID)
		}
		if after == "" {
			close(goOn)
			if err := <-slow; err != nil {
				t.Fatal(err)
			}
		}
		if len(page) < 2 {
			break
		}
		after = page[1].ID
	}
	if !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("got %v", got)
	}
}
