import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { wireError } from '../../../lib/problem.ts';
import { newId } from '../../../lib/ids.ts';
import type { ParsedBody, RouteName } from '../../../lib/protocol.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { PilotProcess, isAlive, pilotBundle } from './pilot-process.ts';
import { TestSite } from './test-site.ts';

let site: TestSite;
let entry: string;
let scratch: string;

before(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'pilotage-life-'));
  entry = await pilotBundle(scratch);
});
after(() => rm(scratch, { recursive: true, force: true }));
beforeEach(async () => {
  site = await TestSite.start();
});
afterEach(() => site.stop());

const start = (
  agent: Record<string, number | string> = {},
  options: { flags?: string[]; env?: NodeJS.ProcessEnv } = {},
) => PilotProcess.start(site.bootstrap(agent), { entry, ...options });
const count = (route: RouteName) => site.calls.filter(call => call.route === route).length;
const endless = ['sh', '-c', 'echo $$ > "$PID_FILE"; echo running; while :; do sleep 0.05; done'];
const pidFile = () => join(scratch, newId());
const pidFrom = (file: string) =>
  waitUntil('the payload runs', async () => Number(await readFile(file, 'utf8').catch(() => '')) || 0);

test('the lease is kept while logs and result are on their way', async () => {
  let refusals = 0;
  let beatsMeanwhile = 0;
  site.refuse = route => {
    if (route === 'heartbeat' && refusals > 0) beatsMeanwhile += 1;
    if (route !== 'complete' || refusals >= 2) return;
    refusals += 1;
    throw wireError('E_OVERLOADED', 'not now');
  };
  site.submit({ command: ['true'] });
  await using pilot = await start();
  assert.equal(await pilot.ended, 0, pilot.stderr);
  assert.equal(site.results.length, 1);
  assert.ok(beatsMeanwhile > 0, 'a lease that nobody renews runs out, and the work with it');
});

describe('reasons to end', () => {
  test('several jobs in one pilot, each with its outcome; then it is idle and leaves', async () => {
    site.submit({ command: ['true'] });
    site.submit({ command: ['sh', '-c', 'echo no >&2; exit 3'] });
    site.submit({ command: ['no-such-command'] });
    await using pilot = await start();
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.deepEqual(
      site.results.map(({ outcome, cause }) => [outcome, cause?.code]),
      [
        ['finished', undefined],
        ['failed', 'PAYLOAD_EXIT'],
        ['failed', 'PAYLOAD_NOT_STARTED'],
      ],
    );
    assert.deepEqual([pilot.summary.jobs, pilot.summary.finished, pilot.summary.failed], [3, 1, 2]);
    assert.equal(pilot.summary.reason, 'idle');
    assert.equal(count('enrol'), 1);
    assert.deepEqual(site.calls.at(-1)!.body, { reason: 'idle', jobsDone: 3 });
    assert.deepEqual(await readdir(join(pilot.sandbox, 'jobs')), []);
    assert.deepEqual(await readdir(join(pilot.sandbox, 'results')), []);
  });

  test('maxJobs by flag, over the environment, over bootstrap.json', async () => {
    for (let index = 0; index < 5; index += 1) site.submit({ command: ['true'] });
    await using pilot = await start(
      { maxJobs: 4 },
      { env: { PILOTAGE_AGENT_MAX_JOBS: '3' }, flags: ['--max-jobs', '2'] },
    );
    assert.equal(await pilot.ended, 0);
    assert.equal(pilot.summary.reason, 'max-jobs');
    assert.equal(site.results.length, 2);
  });

  test('its lifetime, and it asks only for what fits in what is left of it', async () => {
    await using pilot = await start({ lifetimeSeconds: 3, idleSeconds: 100, killGraceSeconds: 0 });
    assert.equal(await pilot.ended, 0);
    assert.equal(pilot.summary.reason, 'lifetime');
    const asked = site.calls
      .filter(call => call.route === 'acquire')
      .map(call => (call.body as ParsedBody<'acquire'>).resources.wallSecondsLeft);
    assert.ok(asked.length >= 1 && asked.every(seconds => seconds <= 3), String(asked));
  });

  test('a node on which every job fails takes a few, not all', async () => {
    site.submit({ command: ['sh', '-c', 'rm -rf ../../../jobs; touch ../../../jobs'] });
    for (let index = 0; index < 10; index += 1) site.submit({ command: ['true'] });
    await using pilot = await start();
    assert.equal(await pilot.ended, 6, pilot.stderr);
    assert.equal(pilot.summary.reason, 'unfit');
    assert.deepEqual(
      site.results.slice(1).map(({ cause }) => cause?.code),
      ['PILOT_ERROR', 'PILOT_ERROR'],
    );
    assert.equal(count('leavePilot'), 1);
  });

  test('drain', async () => {
    site.drain = true;
    await using pilot = await start({ idleSeconds: 100 });
    assert.equal(await pilot.ended, 0);
    assert.equal(pilot.summary.reason, 'drain');
  });

  test('a pilot that is too old, or fenced, is told so once and ends with 5', async () => {
    site.refuse = route => {
      if (route === 'acquire') throw wireError('E_PILOT_TOO_OLD', 'This release is no longer served.');
    };
    await using pilot = await start({ idleSeconds: 100 });
    assert.equal(await pilot.ended, 5);
    assert.equal(pilot.summary.reason, 'refused');
    assert.equal(count('acquire'), 1);
  });
});

describe('limits and commands, end to end', () => {
  test('a hog, a sleeper and a flooder each end with their own evidence', async () => {
    const MIB = 2 ** 20;
    const hog = site.submit({
      command: ['awk', 'BEGIN { s = sprintf("%200000000s", "x"); while (1) system("sleep 1") }'],
      limits: { memoryBytes: 128 * MIB },
    });
    const sleeper = site.submit({ command: ['sleep', '60'], limits: { wallSeconds: 1 } });
    const flooder = site.submit({
      command: ['sh', '-c', 'head -c 20000000 /dev/zero | tr "\\0" y; echo; echo the end'],
      limits: { logBytes: 100_000 },
    });
    await using pilot = await start();
    assert.equal(await pilot.ended, 0, pilot.stderr);
    const of = (attemptId: string) => site.results.find(result => result.attemptId === attemptId)!;
    assert.equal(of(hog.attemptId).cause!.code, 'MEMORY_EXCEEDED');
    // In bytes where it was seen so early that both would be 128 MiB.
    assert.match(of(hog.attemptId).cause!.text, /^peak (\d+ MiB of 128 MiB|\d+ of 134217728 bytes)$/);
    assert.equal(of(sleeper.attemptId).cause!.code, 'WALLTIME_EXCEEDED');
    assert.equal(of(flooder.attemptId).outcome, 'finished');
    const log = site.log(flooder.attemptId, 'stdout');
    assert.ok(log.endsWith('\nthe end\n') && log.length < 100_200, `${log.length}`);
    assert.match(log, /bytes cut here/);
  });

  test('kill comes with a heartbeat and ends the payload; it is acknowledged and obeyed once', async () => {
    const lease = site.submit({ command: endless, environment: { PID_FILE: pidFile() } });
    await using pilot = await start();
    const pid = await pidFrom(lease.definition.environment.PID_FILE!);
    await waitUntil('a heartbeat with the tail came', () =>
      site.calls.some(call => (call.body as Partial<ParsedBody<'heartbeat'>>).tail?.stdout === 'running\n'),
    );
    const id = newId();
    site.commands.push(
      { id, verb: 'report-now', reason: '', because: null },
      { id: newId(), verb: 'kill', reason: 'by its owner', because: null },
    );
    assert.equal(await pilot.ended, 0);
    assert.ok(!isAlive(pid));
    const [result] = site.results;
    assert.equal(result!.outcome, 'cancelled');
    assert.deepEqual(result!.cause, { code: 'KILLED', text: 'by its owner' });
    const beats = site.calls
      .filter(call => call.route === 'heartbeat')
      .map(call => call.body as ParsedBody<'heartbeat'>);
    assert.ok(beats.every(beat => beat.incarnation === 'first'));
    assert.ok(beats.some(beat => beat.state === 'running' && beat.usage!.wallSeconds > 0));
  });

  test('the payload sees nothing of the pilot and can read its own credential', async () => {
    const lease = site.submit({
      command: [
        'sh',
        '-c',
        'env; stat -c "mode %a" "$X509_USER_PROXY"; cat "$X509_USER_PROXY"; ls -l /proc/$$/fd',
      ],
    });
    await using pilot = await start(
      {},
      { env: { AWS_SECRET_ACCESS_KEY: 'of the pilot', PILOTAGE_AGENT_CORES: '1' } },
    );
    assert.equal(await pilot.ended, 0, pilot.stderr);
    const output = site.log(lease.attemptId, 'stdout');
    assert.doesNotMatch(output, /of the pilot|PILOT_ONLY|not-for-payloads|PILOTAGE_AGENT|bootstrap|socket:/);
    assert.match(output, /mode 600/);
    assert.match(output, /-----BEGIN CERTIFICATE-----[^]*-----BEGIN PRIVATE KEY-----/);
    assert.match(output, new RegExp(`PILOTAGE_SERVERS=${site.url}\n`));
  });
});

describe('replies that are lost, servers that are away', () => {
  test('a lost reply to enrol: the same key again, the same pilot', async () => {
    site.lose.push('enrol', 'enrol');
    site.submit({ command: ['true'] });
    await using pilot = await start();
    assert.equal(await pilot.ended, 0, pilot.stderr);
    const enrolments = site.calls.filter(call => call.route === 'enrol');
    assert.equal(enrolments.length, 3);
    assert.equal(new Set(enrolments.map(call => call.key)).size, 1);
    assert.equal(new Set(enrolments.map(call => JSON.stringify(call.body))).size, 1);
    assert.equal(site.results.length, 1);
  });

  test('a lost reply to acquire gives the same job, to complete the same answer', async () => {
    site.lose.push('acquire', 'complete', 'complete', 'appendLog', 'payloadCredential');
    site.submit({ command: ['echo', 'hello'] });
    await using pilot = await start();
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.equal(site.results.length, 1);
    assert.equal(pilot.summary.finished, 1);
    const completions = site.calls.filter(call => call.route === 'complete');
    assert.equal(completions.length, 3);
    assert.equal(new Set(completions.map(call => `${call.key} ${JSON.stringify(call.body)}`)).size, 1);
    assert.equal(site.log(site.results[0]!.attemptId, 'stdout'), 'hello\n');
  });

  test('a server that is away while the payload runs ends nothing; the result waits in its file', async () => {
    let away = false;
    site.refuse = () => {
      if (away) throw wireError('E_NOT_READY', 'The database is away.');
    };
    const file = pidFile();
    const command = ['sh', '-c', 'echo $$ > "$PID_FILE"; sleep 0.8'];
    const lease = site.submit({ command, environment: { PID_FILE: file } });
    await using pilot = await start();
    await pidFrom(file);
    away = true;
    const kept = join(pilot.sandbox, 'results', `${lease.attemptId}.json`);
    await waitUntil('the result is kept and was offered', () => existsSync(kept) && count('complete') >= 2, {
      seconds: 40,
    });
    const { body } = JSON.parse(await readFile(kept, 'utf8')) as { body: { outcome: string } };
    assert.equal(body.outcome, 'finished');
    away = false;
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.equal(site.results.length, 1);
    assert.ok(!existsSync(kept));
  });

  test('fenced: the payload is ended, nothing is reported, the next job is taken', async () => {
    const file = pidFile();
    const fenced = site.submit({ command: endless, environment: { PID_FILE: file } });
    site.refuse = (route, body) => {
      const { state } = body as Partial<ParsedBody<'heartbeat'>>;
      if (route === 'heartbeat' && state === 'running' && site.waiting.length > 0) {
        throw wireError('E_FENCED', 'This attempt was replaced.');
      }
    };
    await using pilot = await start();
    const pid = await pidFrom(file);
    const next = site.submit({ command: ['true'] });
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.ok(!isAlive(pid));
    assert.deepEqual(
      site.results.map(result => result.attemptId),
      [next.attemptId],
    );
    assert.equal(pilot.summary.dropped, 1);
    assert.notEqual(fenced.attemptId, next.attemptId);
  });

  test('a renewal answered with nonsense, or with a certificate of another key, does not cut the pilot off', async () => {
    for (const broken of ['nonsense', site.serverCa]) {
      site.brokenRenewal = broken;
      site.pilotCertificateSeconds = 0.2;
      site.submit({ command: ['sleep', '0.5'] });
      await using pilot = await start();
      assert.equal(await pilot.ended, 0, pilot.stderr);
      assert.equal(pilot.summary.finished, 1);
      assert.ok(count('renewPilot') > 0);
    }
  });

  test('a certificate that grows old is renewed, with a fresh key, in the middle of a job', async () => {
    site.pilotCertificateSeconds = 1;
    site.submit({ command: ['sleep', '1.5'] });
    await using pilot = await start();
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.ok(count('renewPilot') >= 1);
    assert.equal(site.calls.find(call => call.route === 'complete')!.cn, 'pilot renewed');
    assert.equal(site.results.length, 1);
  });
});

describe('being ended', () => {
  test('SIGTERM hands the job back, leaves and exits 0', async () => {
    const file = pidFile();
    site.submit({ command: endless, environment: { PID_FILE: file } });
    await using pilot = await start({ idleSeconds: 100 });
    const pid = await pidFrom(file);
    pilot.child.kill('SIGTERM');
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.ok(!isAlive(pid));
    const [result] = site.results;
    assert.equal(result!.outcome, 'returned');
    assert.equal(result!.cause!.code, 'PILOT_TERMINATED');
    assert.equal(pilot.summary.returned, 1);
    assert.equal(pilot.summary.reason, 'terminated');
    assert.equal(site.calls.at(-1)!.route, 'leavePilot');
  });

  test('SIGTERM while it waits for a job leaves at once', async () => {
    await using pilot = await start({ idleSeconds: 100, waitSeconds: 60 });
    await waitUntil('it asks for a job', () => count('acquire') > 0);
    const started = performance.now();
    pilot.child.kill('SIGTERM');
    assert.equal(await pilot.ended, 0);
    assert.ok(performance.now() - started < 3000);
    assert.equal(count('leavePilot'), 1);
  });

  test('a second SIGTERM takes away the grace', async () => {
    const file = pidFile();
    site.submit({
      command: ['sh', '-c', 'trap "" TERM; echo $$ > "$PID_FILE"; while :; do sleep 0.1; done'],
      environment: { PID_FILE: file },
    });
    await using pilot = await start({ killGraceSeconds: 100 });
    const pid = await pidFrom(file);
    pilot.child.kill('SIGTERM');
    await waitUntil('the payload was told', () => pilot.stderr.includes('payload told to end'));
    pilot.child.kill('SIGTERM');
    assert.equal(await pilot.ended, 0, pilot.stderr);
    assert.ok(!isAlive(pid));
    assert.equal(site.results[0]!.outcome, 'returned');
  });

  test('kill -9 leaves payload.pgid, and with it the whole payload can be ended', async () => {
    const file = pidFile();
    site.submit({ command: endless, environment: { PID_FILE: file } });
    await using pilot = await start();
    const pid = await pidFrom(file);
    pilot.child.kill('SIGKILL');
    assert.equal(await pilot.ended, null);
    const group = Number(await readFile(join(pilot.sandbox, 'payload.pgid'), 'utf8'));
    assert.equal(group, pid);
    process.kill(-group, 'SIGKILL');
    await waitUntil('the payload is gone', () => !isAlive(pid));
  });
});

describe('exit codes', () => {
  test('2: bad bootstrap, bad settings, bad usage; never the secret', async () => {
    const good = site.bootstrap();
    const cases: [string, string[], RegExp][] = [
      ['{"secret":"hidden",', [], /E_BOOTSTRAP_INVALID: The file is not JSON/],
      [
        JSON.stringify({ ...good, servers: [], secret: 'hidden' }),
        [],
        /E_BOOTSTRAP_INVALID: The field "servers"/,
      ],
      [JSON.stringify(good), ['--idle-seconds', 'never'], /E_CONFIG_INVALID: The setting "idleSeconds"/],
      [JSON.stringify({ ...good, agent: { idelSeconds: 1 } }), [], /Did you mean "idleSeconds"/],
      [JSON.stringify(good), ['--no-such-flag'], /E_USAGE: Unknown option '--no-such-flag'/],
    ];
    for (const [bootstrap, flags, message] of cases) {
      await using pilot = await PilotProcess.start(bootstrap, { entry, flags });
      assert.equal(await pilot.ended, 2, pilot.stderr);
      assert.match(pilot.stderr, message);
      assert.doesNotMatch(pilot.stderr + pilot.stdout, /hidden|a-secret-of-this-test/);
      assert.doesNotMatch(pilot.stderr, /^\s+at /m);
    }
  });

  test('4: no server reached', async () => {
    const free = createServer();
    await new Promise<void>(resolve => free.listen(0, '127.0.0.1', resolve));
    const { port } = free.address() as AddressInfo;
    await new Promise(resolve => free.close(resolve));
    const bootstrap = {
      ...site.bootstrap({ enrolPatienceSeconds: 0 }),
      servers: [`https://127.0.0.1:${port}`],
    };
    await using pilot = await PilotProcess.start(bootstrap, { entry });
    assert.equal(await pilot.ended, 4, pilot.stderr);
    assert.match(pilot.stderr, /E_UNREACHABLE/);
    assert.equal(pilot.summary.reason, 'unreachable');
    assert.ok(
      existsSync(join(pilot.sandbox, 'bootstrap.json')),
      'a secret that was not redeemed is not thrown away',
    );
  });

  test('5: enrolment refused; 6: node unfit', async () => {
    await using refused = await PilotProcess.start({ ...site.bootstrap(), secret: 'wrong' }, { entry });
    assert.equal(await refused.ended, 5);
    assert.match(refused.stderr, /E_ENROLMENT_REFUSED: .*E_SECRET_INVALID/);
    await using unfit = await start({ minDiskBytes: 2 ** 52 });
    assert.equal(await unfit.ended, 6);
    assert.match(unfit.stderr, /E_NODE_UNFIT/);
    assert.equal(count('enrol'), 1);
  });
});
