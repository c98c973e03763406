package rstreamscdk

// The rights of the bus's functions. Each list is what the code of that function asks of AWS and no more; what a function
// needs is told in its main.go.

// sequenceGrants: publish chunks, objects and heads, remember batches, and count what bots write.
func (p place) sequenceGrants() []grant {
	r := p.resources
	return append([]grant{
		allow("PublishChunks", []string{p.table(r.LeoStream)}, "dynamodb:BatchWriteItem", "dynamodb:Query"),
		allow("MoveHeads", []string{p.table(r.LeoEvent)}, "dynamodb:GetItem", "dynamodb:UpdateItem", "dynamodb:PartiQLUpdate"),
		allow("CountWrites", []string{p.table(r.LeoCron)}, "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:PartiQLUpdate"),
		allow("RememberBatches", []string{p.table(r.LeoSettings)}, "dynamodb:GetItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"),
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

// loaderGrants: sequence what Firehose brought, and delete it then.
func (p place) loaderGrants(queue string) []grant {
	return append(append(p.sequenceGrants(), p.tellGrants(queue)...),
		allow("LoadRaw", []string{p.objects(rawPrefix + "*")}, "s3:GetObject", "s3:DeleteObject"))
}

// archiverGrants: find queues, read their events, write objects of them, and sequence those.
func (p place) archiverGrants() []grant {
	return append(p.sequenceGrants(), allow("FindQueues", []string{p.table(p.resources.LeoEvent)}, "dynamodb:Scan"))
}

// dispatchGrants: read and lock bots, and more of three tables as the function needs it.
func (p place) dispatchGrants(settings, cron, event []string) []grant {
	r := p.resources
	grants := []grant{
		allow("KeepState", []string{p.table(r.LeoSettings)}, settings...),
		allow("LockBots", []string{p.table(r.LeoCron)}, append([]string{"dynamodb:GetItem", "dynamodb:UpdateItem"}, cron...)...),
	}
	if len(event) > 0 {
		grants = append(grants, allow("ReadHeads", []string{p.table(r.LeoEvent)}, event...))
	}
	return append(grants, p.keyGrants("kms:Decrypt", "kms:GenerateDataKey")...)
}

// triggerGrants: know every bot, and start those of the queues that have moved.
func (p place) triggerGrants() []grant {
	return p.dispatchGrants([]string{"dynamodb:GetItem", "dynamodb:BatchGetItem"}, []string{"dynamodb:BatchGetItem", "dynamodb:Scan"}, nil)
}

// runnerGrants: start bots whose rows have changed if there is something to read.
func (p place) runnerGrants() []grant {
	return p.dispatchGrants([]string{"dynamodb:UpdateItem"}, nil, []string{"dynamodb:GetItem"})
}

// schedulerGrants: look at every bot and every queue.
func (p place) schedulerGrants() []grant {
	return p.dispatchGrants([]string{"dynamodb:GetItem", "dynamodb:UpdateItem"}, []string{"dynamodb:Scan"}, []string{"dynamodb:Scan"})
}

// monitorGrants: write events about bots.
func (p place) monitorGrants() []grant {
	return append([]grant{allow("WriteEvents", []string{p.kinesis()}, "kinesis:PutRecords")}, p.keyGrants("kms:Decrypt", "kms:GenerateDataKey")...)
}

// changeGrants let the event source mapping of a function read a table's stream and tell what was given up.
func (p place) changeGrants(stream, queue string) []grant {
	return append([]grant{
		allow("ReadStream", []string{stream}, "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"),
		allow("ListStreams", []string{"*"}, "dynamodb:ListStreams"),
	}, p.tellGrants(queue)...)
}

// tellGrants let a function tell the queue of dead letters what it gave up.
func (p place) tellGrants(queue string) []grant {
	return []grant{allow("TellLoss", []string{queue}, "sqs:SendMessage")}
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
