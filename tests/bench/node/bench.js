// Measures the published Node SDK on events that the Go side generated, without a network: the AWS clients are replaced by
// stubs that answer at once. Prints one line of JSON with CPU seconds, garbage collection and worker threads included.
//
//   node bench.js write PAYLOADS ROUNDS    PAYLOADS: one JSON payload a line
//   node bench.js read ITEMS ROUNDS        ITEMS: one LeoStream item a line, gzip in base64
//
// Run it in the folder that node_modules is in: leo-sdk looks for aws-sdk there.
"use strict";
const fs = require("fs");
const { createRequire } = require("module");
const need = createRequire(process.cwd() + "/");
const AWS = need("aws-sdk");
console.log = console.info = () => {}; // Standard output is for the result.
AWS.config.update({ region: "us-east-1", accessKeyId: "none", secretAccessKey: "none" });

const queue = "orders";
const [mode, file, rounds] = [process.argv[2], process.argv[3], Number(process.argv[4])];
const lines = fs.readFileSync(file, "utf8").split("\n").filter(Boolean);

const answer = (value) => {
	const promise = () => Promise.resolve(value);
	return (callback) => {
		if (callback) setImmediate(callback, null, value);
		return { promise, on: () => {}, send: () => {} };
	};
};

// What was put, to be sure that the work was done.
let bytes = 0;
let records = 0;
AWS.Kinesis = class {
	putRecords(params, callback) {
		for (const r of params.Records) {
			bytes += r.Data.length;
			records++;
		}
		return answer({ FailedRecordCount: 0, Records: params.Records.map(() => ({ SequenceNumber: "1", ShardId: "s" })) })(callback);
	}
};

let items = [];
if (mode === "read") {
	items = lines.map((l) => {
		const item = JSON.parse(l);
		item.gzip = Buffer.from(item.gzip, "base64");
		return item;
	});
}
const client = AWS.DynamoDB.DocumentClient.prototype;
client.batchGet = function(params, callback) {
	const max = items.length ? items[items.length - 1].end : undefined;
	return answer({ Responses: { LeoCron: [], LeoEvent: [{ event: queue, max_eid: max, v: 2 }] }, UnprocessedKeys: {} })(callback);
};
client.query = function(params, callback) {
	const v = params.ExpressionAttributeValues;
	const page = items.filter((i) => i.end >= v[":start"] && i.end <= v[":maxkey"]).slice(0, params.Limit);
	return answer({ Items: page, Count: page.length, ConsumedCapacity: { CapacityUnits: 0 } })(callback);
};

const resources = { Region: "us-east-1", LeoStream: "LeoStream", LeoCron: "LeoCron", LeoEvent: "LeoEvent", LeoS3: "leos3",
	LeoKinesisStream: "stream", LeoFirehoseStream: "firehose", LeoSettings: "LeoSettings", LeoSystem: "LeoSystem" };
const RStreams = need("leo-sdk");
const sdk = new RStreams("bench", { region: resources.Region, aws: { region: resources.Region }, s3: resources.LeoS3,
	kinesis: resources.LeoKinesisStream, firehose: resources.LeoFirehoseStream, resources });

function write() {
	const payloads = lines.map((l) => JSON.parse(l));
	const stream = sdk.load("shop", queue, {});
	return measured(() => new Promise((resolve, reject) => {
		stream.on("finish", resolve);
		stream.on("error", reject);
		let next = 0;
		const pump = () => {
			while (next < payloads.length) {
				if (!stream.write({ payload: payloads[next++] })) {
					stream.once("drain", pump);
					return;
				}
			}
			stream.end();
		};
		pump();
	}), () => {
		if (records === 0) throw new Error("nothing was sent");
		return payloads.length;
	});
}

function read() {
	let n = 0;
	return measured(() => new Promise((resolve, reject) => {
		const stream = sdk.read("reader", queue, { start: "z/", loops: Number.MAX_SAFE_INTEGER, runTime: 3600000 });
		stream.on("data", (e) => {
			if (e.payload && e.eid) n++;
		});
		stream.on("end", resolve);
		stream.on("error", reject);
	}), () => n);
}

async function measured(work, count) {
	if (global.gc) global.gc();
	const before = process.cpuUsage();
	await work();
	const used = process.cpuUsage(before);
	return { seconds: (used.user + used.system) / 1e6, events: count() };
}

(async () => {
	let best;
	for (let i = 0; i < rounds; i++) {
		bytes = records = 0;
		const r = await (mode === "write" ? write() : read());
		if (!best || r.seconds < best.seconds) best = r;
	}
	best.bytes = bytes;
	best.records = records;
	process.stdout.write(JSON.stringify(best) + "\n");
	process.exit(0);
})().catch((e) => {
	process.stderr.write(String(e.stack || e) + "\n");
	process.exit(1);
});
