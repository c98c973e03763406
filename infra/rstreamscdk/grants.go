package rstreamscdk

// The rights of the bus's functions. Each list is what the code of that function asks of AWS and no more; what a function
// needs is told in its main.go.

// streamGrants let the event source mapping of a function read a table's stream.
func streamGrants(stream string) []grant {
	return []grant{
		allow("ReadStream", []string{stream}, "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"),
		allow("ListStreams", []string{"*"}, "dynamodb:ListStreams"),
	}
}

// tellGrants let a function tell the queue of dead letters what it gave up.
func (p place) tellGrants(queue string) []grant {
	return []grant{allow("TellLoss", []string{queue}, "sqs:SendMessage")}
}

// sequenceGrants: publish chunks, objects and heads, remember batches, and count what bots write.
func (p place) sequenceGrants() []grant {
	r := p.resources
	return append([]grant{
		allow("PublishChunks", []string{p.table(r.LeoStream)}, "dynamodb:PutItem", "dynamodb:BatchWriteItem", "dynamodb:UpdateItem",
			"dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"),
		allow("MoveHeads", []string{p.table(r.LeoEvent)}, "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"),
		allow("CountWrites", []string{p.table(r.LeoCron)}, "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"),
		allow("RememberBatches", []string{p.table(r.LeoSettings)}, "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"),
		allow("ReadObjects", []string{p.objects("bus/*"), p.objects("files/*")}, "s3:GetObject"),
		allow("WriteObjects", []string{p.objects("bus/*"), p.objects("files/*")}, "s3:PutObject", "s3:AbortMultipartUpload"),
		allow("ListObjects", []string{p.bucket()}, "s3:ListBucket"),
	}, p.keyGrants("kms:Decrypt", "kms:GenerateDataKey")...)
}

// processorGrants: sequence what Kinesis brings, and keep what cannot be sequenced.
func (p place) processorGrants() []grant {
	return append(p.sequenceGrants(),
		allow("ReadIntake", []string{p.kinesis()}, "kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords",
			"kinesis:GetShardIterator", "kinesis:ListShards"),
		allow("KeepLostBatches", []string{p.objects(lostPrefix + "*")}, "s3:PutObject"))
}

// dispatchGrants: know every bot and queue, lock bots and note why they run. stream is the table stream that the function
// reads, "" for none.
func (p place) dispatchGrants(stream, queue string) []grant {
	r := p.resources
	grants := []grant{
		allow("ReadQueues", []string{p.table(r.LeoEvent), p.table(r.LeoSystem)}, "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Scan", "dynamodb:Query"),
		allow("LockBots", []string{p.table(r.LeoCron)}, "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Scan", "dynamodb:Query", "dynamodb:UpdateItem"),
		allow("KeepState", []string{p.table(r.LeoSettings)}, "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"),
	}
	if stream != "" {
		grants = append(grants, streamGrants(stream)...)
		grants = append(grants, p.tellGrants(queue)...)
	}
	return append(grants, p.keyGrants("kms:Decrypt", "kms:GenerateDataKey")...)
}

// monitorGrants: read the changes of bots, write events about them.
func (p place) monitorGrants(stream, queue string) []grant {
	grants := append(streamGrants(stream), p.tellGrants(queue)...)
	grants = append(grants, allow("WriteEvents", []string{p.kinesis()}, "kinesis:PutRecord", "kinesis:PutRecords"))
	return append(grants, p.keyGrants("kms:Decrypt", "kms:GenerateDataKey")...)
}

// loaderGrants: sequence what Firehose brought, and delete it then.
func (p place) loaderGrants(queue string) []grant {
	return append(append(p.sequenceGrants(), p.tellGrants(queue)...),
		allow("LoadRaw", []string{p.objects(rawPrefix + "*")}, "s3:GetObject", "s3:DeleteObject"))
}

// archiverGrants: find queues, read their events, write archive objects and announce them on the stream.
func (p place) archiverGrants(queue string) []grant {
	r := p.resources
	return append([]grant{
		allow("ReadQueues", []string{p.table(r.LeoStream)}, "dynamodb:Query", "dynamodb:GetItem", "dynamodb:BatchGetItem"),
		allow("ReadHeads", []string{p.table(r.LeoEvent)}, "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Scan", "dynamodb:Query"),
		allow("ReadObjects", []string{p.objects("bus/*"), p.objects("files/*")}, "s3:GetObject"),
		allow("WriteObjects", []string{p.objects("bus/*")}, "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
		allow("ListObjects", []string{p.bucket()}, "s3:ListBucket"),
		allow("WriteEvents", []string{p.kinesis()}, "kinesis:PutRecord", "kinesis:PutRecords"),
		allow("KeepCheckpoints", []string{p.table(r.LeoCron)}, "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"),
		allow("KeepState", []string{p.table(r.LeoSettings)}, "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"),
	}, append(p.tellGrants(queue), p.keyGrants("kms:Decrypt", "kms:GenerateDataKey")...)...)
}

// registerGrants: keep bots and systems, store schemas of queues (bus.md 3.11).
func (p place) registerGrants() []grant {
	r := p.resources
	return append([]grant{
		allow("KeepBots", []string{p.table(r.LeoCron), p.table(r.LeoSystem)}, "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"),
		allow("RememberRetired", []string{p.table(r.LeoSettings)}, "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem",
			"dynamodb:DeleteItem"),
		allow("KeepSchemas", []string{p.objects("files/bus_internal/queue_schemas/*")}, "s3:PutObject", "s3:AbortMultipartUpload"),
	}, p.keyGrants("kms:Decrypt", "kms:GenerateDataKey")...)
}

// replicatorGrants: be a bot here, and assume the roles of the destinations.
func (p place) replicatorGrants(r *Replication) []grant {
	if r == nil {
		return nil
	}
	return append(p.botGrants(), allow("BeBotElsewhere", r.Roles, "sts:AssumeRole"))
}
