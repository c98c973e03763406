package awstest

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Item is a DynamoDB item as it is stored.
type Item = map[string]ddb.AttributeValue

// Key returns the key of an item: attribute names and their string values, in turn.
func Key(pairs ...string) Item {
	k := Item{}
	for i := 0; i+1 < len(pairs); i += 2 {
		k[pairs[i]] = &ddb.AttributeValueMemberS{Value: pairs[i+1]}
	}
	return k
}

// GetItem returns an item as it is stored, nil where there is none.
func GetItem(t testing.TB, table string, key Item) Item {
	t.Helper()
	consistent := true
	out, err := dynamodb.NewFromConfig(Config(t)).GetItem(t.Context(),
		&dynamodb.GetItemInput{TableName: &table, Key: key, ConsistentRead: &consistent})
	if err != nil {
		t.Fatalf("get an item of %s: %v", table, err)
	}
	return out.Item
}

// PutItem stores an item as it is, such as one that other software would have left.
func PutItem(t testing.TB, table string, item Item) {
	t.Helper()
	if _, err := dynamodb.NewFromConfig(Config(t)).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item}); err != nil {
		t.Fatalf("put an item into %s: %v", table, err)
	}
}

// DeleteItem removes an item; an absent one is no error.
func DeleteItem(t testing.TB, table string, key Item) {
	t.Helper()
	if _, err := dynamodb.NewFromConfig(Config(t)).DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &table, Key: key}); err != nil {
		t.Fatalf("delete an item of %s: %v", table, err)
	}
}
