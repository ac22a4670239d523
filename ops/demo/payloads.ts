/** The demo's payloads: what they run, as text that travels as a checksummed input of the job. */

/** Count, sum and sum of squares modulo 1000003 of the numbers in a slice. POSIX awk: any worker node has it. */
export const sumScript = `#!/bin/sh
# usage: sum.sh SLICE; writes partial.txt: count, sum, sum of squares mod 1000003
set -eu
awk '{ n++; s += $1; q = (q + ($1 * $1) % 1000003) % 1000003 }
     END { printf "%.0f %.0f %.0f\\n", n, s, q }' "$1" > partial.txt
echo "summed $1: $(cat partial.txt)"
`;

/** Merges the partial results. */
export const mergeScript = `#!/bin/sh
# usage: merge.sh PARTIAL...; writes total.txt
set -eu
cat "$@" | awk '{ n += $1; s += $2; q = (q + $3) % 1000003 }
     END { printf "%.0f %.0f %.0f\\n", n, s, q }' > total.txt
echo "merged $# partial results: $(cat total.txt)"
`;

/** Grows without end; awk doubles one string until the memory limit of the job ends it. */
export const memoryScript = `#!/bin/sh
exec awk 'BEGIN { s = "0123456789abcdef"; while (1) { s = s s; if (length(s) > 33554432) { n++; keep[n] = s " " n; s = "x" } } }'
`;

/**
 * Tries, from inside a job, to make the system run another job: with the credential the payload was given, with none, by
 * asking for work as if it were a pilot, and by redeeming the pilot's one-time secret again. Writes answers.json.
 */
export const submitScript = `import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { dirname, join } from 'node:path';

const server = process.env.PILOTAGE_SERVERS.split(/[ ,]/)[0];
const ca = readFileSync(process.env.PILOTAGE_SERVER_CA);
const proxy = readFileSync(process.env.X509_USER_PROXY, 'utf8');
const mine = { cert: proxy, key: proxy };
const definition = { name: 'from-inside', vo: process.argv[2], queue: process.argv[3], command: ['true'] };
let serial = 0;

function post(path, body, credential) {
  return new Promise(resolve => {
    const call = request(server + path, {
      method: 'POST', ca, ...credential, timeout: 10000,
      headers: { 'content-type': 'application/json', 'idempotency-key': 'inside-' + process.pid + '-' + serial++ },
    }, reply => {
      let text = '';
      reply.on('data', part => (text += part)).on('end', () => resolve({ status: reply.statusCode, ...JSON.parse(text || '{}') }));
    });
    call.on('error', error => resolve({ status: 0, code: error.code }));
    call.end(JSON.stringify(body));
  });
}

/** Looks for a submission's one-time secret in the directories above, as a curious payload would. */
function findSecret() {
  for (let directory = process.cwd(); directory !== '/'; directory = dirname(directory)) {
    for (const name of readdirSync(directory)) {
      if (name !== 'bootstrap.json') continue;
      try { return JSON.parse(readFileSync(join(directory, name), 'utf8')); } catch { return undefined; }
    }
  }
  return undefined;
}

const answers = [];
const attempt = async (what, path, body, credential) => {
  const { status, code, rule, detail } = await post(path, body, credential);
  answers.push({ what, status, code, rule, detail });
  console.log(what + ': ' + status + ' ' + code + (rule ? ' by rule ' + rule : ''));
};
await attempt('submit with the payload credential', '/v1/jobs', { jobs: [{ definition }] }, mine);
await attempt('submit without a credential', '/v1/jobs', { jobs: [{ definition }] }, {});
await attempt('ask for a job as if a pilot', '/v1/acquire', {
  protocol: 1, release: null, node: 'inside', labels: ['user'], containment: 'none',
  resources: { cores: 1, memoryBytes: 1e9, diskBytes: 1e9, wallSecondsLeft: 1000 },
}, mine);
const secret = findSecret();
console.log('one-time secret of the pilot: ' + (secret?.secret ? 'found' : 'not there'));
writeFileSync('answers.json', JSON.stringify({ answers, secretFound: Boolean(secret?.secret) }));
process.exit(answers.every(({ status }) => status === 401 || status === 403) ? 0 : 1);
`;
