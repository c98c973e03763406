// The Lambda runtime for Node handlers, CommonJS and ES modules, with a callback or a promise, over the Runtime API.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import http from 'node:http';

const env = process.env;
const [host, port] = env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

// fetch() would give up after five minutes without an answer, and a function may well wait for longer.
function call(method, what, body) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, method, agent, path: '/2018-06-01/runtime/' + what }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part) => { text += part; });
      response.on('end', () => resolve({ headers: response.headers, text }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

function describe(error) {
  console.error(error);
  return JSON.stringify({
    errorType: error?.name ?? 'Error',
    errorMessage: String(error?.message ?? error),
    trace: String(error?.stack ?? '').split('\n'),
  });
}

function isModule(file) {
  if (!file.endsWith('.js')) return file.endsWith('.mjs');
  for (let dir = path.dirname(file); dir.startsWith(env.LAMBDA_TASK_ROOT); dir = path.dirname(dir)) {
    const manifest = path.join(dir, 'package.json');
    if (fs.existsSync(manifest)) return JSON.parse(fs.readFileSync(manifest, 'utf8')).type === 'module';
  }
  return false;
}

async function load() {
  const full = path.join(env.LAMBDA_TASK_ROOT, env._HANDLER);
  const dot = full.indexOf('.', full.lastIndexOf(path.sep));
  const file = ['.js', '.mjs', '.cjs'].map((ending) => full.slice(0, dot) + ending).find((name) => fs.existsSync(name));
  if (!file) throw new Error(`there is no file for the handler ${env._HANDLER}`);
  const loaded = isModule(file) ? await import(pathToFileURL(file)) : createRequire(file)(file);
  const handler = full.slice(dot + 1).split('.').reduce((value, name) => value?.[name], loaded);
  if (typeof handler !== 'function') throw new Error(`${env._HANDLER} is not a function`);
  return handler;
}

function run(handler, event, headers) {
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  return new Promise((resolve, reject) => {
    const callback = (error, value) => (error ? reject(error) : resolve(value));
    const context = {
      awsRequestId: headers['lambda-runtime-aws-request-id'],
      invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
      functionName: env.AWS_LAMBDA_FUNCTION_NAME,
      functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
      memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
      logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
      logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
      getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
      done: callback, succeed: resolve, fail: reject,
    };
    const result = handler(event, context, callback);
    if (typeof result?.then === 'function') result.then(resolve, reject);
    else if (handler.length < 3 && result !== undefined) resolve(result);
  });
}

let handler;
try {
  handler = await load();
} catch (error) {
  await call('POST', 'init/error', describe(error));
  process.exit(1);
}
for (;;) {
  const { headers, text } = await call('GET', 'invocation/next').catch(() => process.exit(0)); // the emulator has ended
  const invocation = 'invocation/' + headers['lambda-runtime-aws-request-id'];
  try {
    const value = await run(handler, JSON.parse(text), headers);
    await call('POST', invocation + '/response', JSON.stringify(value ?? null));
  } catch (error) {
    await call('POST', invocation + '/error', describe(error));
  }
}
