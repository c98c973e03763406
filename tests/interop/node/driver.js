// Lets the Go tests use the published Node SDK: reads commands from standard input, one JSON object a line, and answers each
// with one line on standard output, {"ok": …} or {"error": "…"}.
//
// The SDK makes its connections with https agents only. An emulator speaks plain http, so https.Agent is replaced before the SDK
// is loaded; nothing of the SDK itself is changed.
"use strict";
const https = require("https");
const http = require("http");
https.Agent = http.Agent;
const readline = require("readline");
const zlib = require("zlib");
const AWS = require("aws-sdk");

const endpoint = process.env.INTEROP_ENDPOINT;
const resources = JSON.parse(process.env.RSTREAMS_CONFIG);
AWS.config.update({ region: resources.Region, accessKeyId: "test", secretAccessKey: "test" });
for (const service of ["dynamodb", "kinesis", "firehose", "lambda", "cloudformation", "secretsmanager"]) {
	AWS.config.update({ [service]: { endpoint } });
}
AWS.config.update({ s3: { endpoint, s3ForcePathStyle: true } });
// Standard output carries answers only.
const log = console.log;
console.log = console.info = console.debug = (...args) => process.stderr.write(args.join(" ") + "\n");

const RStreams = require("leo-sdk");
const sdk = new RStreams(resources);
const streams = sdk.streams;
const reference = require("leo-sdk/lib/reference.js");

const finished = (stream) => new Promise((resolve, reject) => {
	stream.on("finish", resolve);
	stream.on("error", reject);
});
const called = (fn, ...args) => new Promise((resolve, reject) => fn(...args, (err, data) => (err ? reject(err) : resolve(data))));

const commands = {
	// write puts events through load, as an application does.
	async write({ bot, queue, opts, events }) {
		const stream = sdk.load(bot, queue, opts || {});
		const done = finished(stream);
		for (const e of events) {
			if (!stream.write(e)) await new Promise((resolve) => stream.once("drain", resolve));
		}
		stream.end();
		await done;
		return events.length;
	},
	// generate writes count events {n: i, pad}.
	async generate({ bot, queue, opts, from, count, pad }) {
		const stream = sdk.load(bot, queue, opts || {});
		const done = finished(stream);
		for (let n = from; n < from + count; n++) {
			const payload = pad ? { n, pad: "x".repeat(pad) } : { n };
			if (!stream.write({ payload })) await new Promise((resolve) => stream.once("drain", resolve));
		}
		stream.end();
		await done;
		return count;
	},
	// read returns the delivered events; with the field brief, only eid and payload.n.
	async read({ bot, queue, opts, brief, checkpoint }) {
		const out = [];
		const stream = sdk.read(bot, queue, opts || {});
		await new Promise((resolve, reject) => {
			stream.on("data", (e) => out.push(brief ? [e.eid, e.payload && e.payload.n] : e));
			stream.on("end", resolve);
			stream.on("error", reject);
		});
		if (checkpoint) await called(stream.checkpoint.bind(stream));
		return out;
	},
	// enrich copies inQueue to outQueue and adds the bot to payload.hops. With dieAfter, the process is killed at that
	// event; with dieBeforeCheckpoint, when the results are durable and the position is not moved yet.
	async enrich({ bot, inQueue, outQueue, config, dieAfter, dieBeforeCheckpoint }) {
		let n = 0;
		if (dieBeforeCheckpoint) sdk.bot.checkpoint = () => process.kill(process.pid, "SIGKILL");
		await called(sdk.enrich.bind(sdk), {
			id: bot, inQueue, outQueue, config: config || {},
			transform: (payload, event, done) => {
				if (++n === dieAfter) process.kill(process.pid, "SIGKILL");
				done(null, Object.assign({}, payload, { hops: (payload.hops || []).concat(bot) }));
			},
		});
		return n;
	},
	// offload takes what is new for the bot.
	async offload({ bot, inQueue, config }) {
		const out = [];
		await called(sdk.offload.bind(sdk), {
			id: bot, inQueue, config: config || {},
			each: (payload, event, done) => {
				out.push([event.eid, payload.n]);
				done(null, true);
			},
		});
		return out;
	},
	// bot calls a function of sdk.bot that ends with a callback.
	async bot({ method, args }) {
		const value = await called(sdk.bot[method].bind(sdk.bot), ...(args || []));
		return value === undefined ? null : value;
	},
	async createBot({ id, bot, opts }) {
		await sdk.bot.createBot(id, bot, opts || {});
		return null;
	},
	// setting reads or writes LeoSettings.
	async setting({ id, value }) {
		const db = sdk.aws.dynamodb;
		if (value !== undefined) return called(db.saveSetting.bind(db), id, value);
		return called(db.getSetting.bind(db), id);
	},
	// handler runs a bot's code under the SDK's Lambda wrapper.
	async handler({ event, requestId, remaining, fail, result }) {
		const cron = require("leo-sdk/wrappers/cron.js");
		const lines = [];
		const was = console.log;
		console.log = (...args) => lines.push(args.join(" "));
		const handler = cron((event, context, callback) => callback(fail ? { msg: fail } : null, result));
		const answer = await called(handler, event, {
			awsRequestId: requestId, getRemainingTimeInMillis: () => remaining || 60000, functionName: "node-bot", functionVersion: "1",
		}).finally(() => (console.log = was));
		return { answer: answer === undefined ? null : answer, lines: lines.filter((l) => l.startsWith("[LEOCRON]")) };
	},
	// ids computes event ids, positions and comparisons.
	async ids({ make, parse, compare }) {
		const tried = (fn) => {
			try {
				const v = fn();
				return v === undefined || Number.isNaN(v) ? null : v;
			} catch (e) {
				return { throws: true };
			}
		};
		return {
			make: (make || []).map(([t, g, n]) => tried(() => streams.eventIdFromTimestamp(t, g, n))),
			parse: (parse || []).map((s) => tried(() => streams.eventIdToTimestamp(s))),
			compare: (compare || []).map(([a, b]) => [Math.sign(a.localeCompare(b)), a < b ? -1 : a > b ? 1 : 0]),
		};
	},
	// refs resolves names.
	async refs({ names }) {
		return names.map((n) => {
			const r = reference.ref(n);
			const b = reference.botRef(n);
			return { refId: r.refId(), queue: r.asQueue().id, id: r.id, type: r.type, botRefId: b.refId() };
		});
	},
	// equal compares JSON texts as what they parse to here.
	async equal({ a, b }) {
		const { isDeepStrictEqual } = require("util");
		return a.map((text, i) => isDeepStrictEqual(JSON.parse(text), JSON.parse(b[i])));
	},
	// fanout runs one worker of the SDK's fan-out wrapper and returns the events that are its part.
	async fanout({ bot, queue, iid, icount, key }) {
		const leo = require("leo-sdk");
		const was = { read: leo.read, fromLeo: leo.streams.fromLeo, bot: Object.assign({}, leo.bot) };
		const keys = { eid: undefined, number: (e) => e.payload.n, text: (e) => e.payload.text, list: (e) => [e.payload.n, e.payload.text] };
		const out = [];
		const handler = require("leo-sdk/wrappers/fanout.js")((event, context, callback) => {
			const stream = leo.read(bot, queue, { start: "z/" });
			stream.on("data", (e) => out.push([e.eid, e.payload.n]));
			stream.on("end", () => callback());
			stream.on("error", callback);
		}, keys[key]);
		await called(handler, { __cron: { iid, icount } }, { getRemainingTimeInMillis: () => 60000 });
		leo.read = was.read;
		leo.streams.fromLeo = was.fromLeo;
		Object.assign(leo.bot, was.bot);
		return out;
	},
	// registry replaces what the SDK's process knows of its run.
	async registry({ cron }) {
		sdk.configuration.registry.__cron = cron;
		return null;
	},
	// configs tells which resources the SDK finds in environments and directories.
	async configs({ cases }) {
		const names = ["RSTREAMS_CONFIG", "leosdk", "leo-sdk", "LEOSDK", "LEO-SDK"];
		const kept = Object.assign({}, process.env), dir = process.cwd();
		const clear = () => {
			for (const k of Object.keys(process.env)) if (names.some((n) => k.startsWith(n))) delete process.env[k];
		};
		const out = cases.map(({ env, dir }) => {
			clear();
			Object.assign(process.env, env || {});
			process.chdir(dir);
			try {
				return new RStreams().configuration.resources;
			} catch (e) {
				return null;
			}
		});
		clear();
		Object.assign(process.env, kept);
		process.chdir(dir);
		return out;
	},
	// correlate makes correlations of events.
	async correlate({ calls }) {
		return calls.map((args) => streams.createCorrelation(...args));
	},
	// enrichBatch writes one event with the count of each batch.
	async enrichBatch({ bot, inQueue, outQueue, count, start }) {
		await called(sdk.enrich.bind(sdk), {
			id: bot, inQueue, outQueue, start, batch: { count }, transform: (events, event, done) => done(null, { n: events.length }),
		});
		return null;
	},
	async gunzip({ base64 }) {
		return JSON.parse(zlib.gunzipSync(Buffer.from(base64, "base64")).toString());
	},
};

const describe = (e) => {
	if (!e) return "failed";
	if (typeof e === "string") return e;
	return e.message || e.code || JSON.stringify(e);
};
const reply = (o) => log(JSON.stringify(o));
process.on("uncaughtException", (e) => reply({ error: "uncaught: " + describe(e) }));

(async () => {
	for await (const line of readline.createInterface({ input: process.stdin })) {
		const command = JSON.parse(line);
		try {
			const value = await commands[command.op](command);
			reply({ ok: value === undefined ? null : value });
		} catch (e) {
			reply({ error: describe(e) });
		}
	}
	process.exit(0);
})();
