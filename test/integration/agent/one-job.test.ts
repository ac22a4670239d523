import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { verifyReceipt } from '../../../agent/receipt.ts';
import { readCsr } from '../../../signing/x509/csr.ts';
import type { ParsedBody } from '../../../lib/protocol.ts';
import { PilotProcess, verified } from './pilot-process.ts';
import { TestSite } from './test-site.ts';

let site: TestSite;
let store: string;
before(async () => {
  store = await mkdtemp(join(tmpdir(), 'pilotage-store-'));
});
before(async () => {
  site = await TestSite.start();
});
after(async () => {
  await site.stop();
  await rm(store, { recursive: true, force: true });
});

test('a job goes from enrolment to an accepted result, with inputs, outputs, log and signed receipt', async () => {
  await writeFile(join(store, 'numbers.txt'), '1\n2\n39\n');
  const sha256 = createHash('sha256').update('1\n2\n39\n').digest('hex');
  const lease = site.submit({
    command: [
      'sh',
      '-c',
      'echo to-out; echo to-err >&2; awk "{s+=\\$1} END {print s}" in/numbers.txt > sum.txt',
    ],
    inputs: [{ name: 'in/numbers.txt', url: pathToFileURL(join(store, 'numbers.txt')).href, sha256 }],
    outputs: [{ name: 'sum.txt' }],
    outputUrl: pathToFileURL(join(store, 'out')).href,
  });
  const bootstrap = site.bootstrap();
  await using pilot = await PilotProcess.start(bootstrap);
  assert.equal(await pilot.ended, 0, pilot.stderr);

  const [result, ...more] = site.results;
  assert.equal(more.length, 0);
  assert.equal(result!.outcome, 'finished', JSON.stringify(result));
  assert.equal(result!.cause, null);
  assert.equal(result!.usage.exitCode, 0);
  assert.deepEqual(result!.release, verified.release);
  const [output] = result!.outputs;
  const expected = join(store, 'out', lease.jobId, `1-${lease.attemptId}`, 'sum.txt');
  assert.equal(output!.url, pathToFileURL(expected).href);
  assert.equal(await readFile(expected, 'utf8'), '42\n');
  assert.equal(output!.sha256, createHash('sha256').update('42\n').digest('hex'));
  assert.equal(site.log(lease.attemptId, 'stdout'), 'to-out\n');
  assert.equal(site.log(lease.attemptId, 'stderr'), 'to-err\n');
  assert.deepEqual(result!.tail, { stdout: 'to-out\n', stderr: 'to-err\n' });

  const { csr } = site.calls.find(call => call.route === 'enrol')!.body as ParsedBody<'enrol'>;
  const receipt = verifyReceipt(result!.receipt!, readCsr(csr).publicKey);
  assert.deepEqual(receipt.inputs, [{ name: 'in/numbers.txt', sha256 }]);
  assert.equal(receipt.definitionSha256, lease.definitionSha256);
  assert.throws(() => verifyReceipt({ ...receipt, outcome: 'failed' }, readCsr(csr).publicKey), {
    code: 'E_RECEIPT_INVALID',
  });

  const { pilotId, seconds: _, ...summary } = pilot.summary;
  assert.deepEqual(summary, {
    jobs: 1,
    finished: 1,
    failed: 0,
    cancelled: 0,
    returned: 0,
    dropped: 0,
    reason: 'idle',
  });
  assert.equal(site.calls.at(-1)!.route, 'leavePilot');
  assert.equal(site.calls.at(-1)!.cn, `pilot ${pilotId}`);
  assert.ok(!existsSync(join(pilot.sandbox, 'bootstrap.json')), 'the secret is gone from the sandbox');
  assert.ok(!existsSync(join(pilot.sandbox, 'payload.pgid')));
  assert.ok(!pilot.stderr.includes(bootstrap.secret));
});
