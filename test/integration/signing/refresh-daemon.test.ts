import assert from 'node:assert/strict';
import { readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sql } from 'kysely';
import { pino } from 'pino';
import { buildVersion } from '../../../lib/build-version.ts';
import { systemClock, type Clock } from '../../../lib/clock.ts';
import { openDatabase } from '../../../lib/database/open-database.ts';
import { silentLog } from '../../../lib/log.ts';
import { ReleaseConfig } from '../../../signing/config/schema.ts';
import { openKeyDirectory } from '../../../signing/keys/key-directory.ts';
import { passphraseSource } from '../../../signing/keys/passphrase.ts';
import { RefreshDaemon } from '../../../signing/release/refresh/refresh-daemon.ts';
import { initRepository } from '../../../signing/release/repository/init-repository.ts';
import { publish, refresh } from '../../../signing/release/repository/publish.ts';
import { openRepository } from '../../../signing/release/repository/repository.ts';
import { withRepositoryLock } from '../../../signing/release/repository/repository-lock.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { serveRefresh } from '../../../signing/release/refresh/serve-refresh.ts';
import { startDaemon } from '../../lab/daemon.ts';
import { makeReleaseRepository, type ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { testStorage } from '../../lab/storages.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { get } from '../codecache/web.ts';

const HOUR = 3_600_000;
const program = fileURLToPath(new URL('../../../pilotage.ts', import.meta.url));

/** A clock that only sleeping and tests move; `jump` sets the wall clock alone, as an operator would. */
function virtualClock() {
  let [now, monotonic] = [Date.parse('2027-01-01T00:00:00Z'), 0];
  let onSleep = () => {};
  const clock: Clock = {
    now: () => Math.floor(now),
    monotonic: () => monotonic,
    async sleep(milliseconds, signal) {
      now += milliseconds;
      monotonic += milliseconds;
      onSleep();
      await new Promise(resolve => setImmediate(resolve));
      signal?.throwIfAborted();
    },
  };
  return {
    clock,
    jump: (milliseconds: number) => (now += milliseconds),
    onSleep: (listener: () => void) => (onSleep = listener),
  };
}

async function daemonLab(t: TestContext, intervalSeconds = 1800) {
  const time = virtualClock();
  const directory = await temporaryDirectory(t, 'refresh');
  const lab = await makeReleaseRepository({ directory, clock: time.clock });
  const lines: { level: number; role?: string; msg: string }[] = [];
  const log = pino({ level: 'info' }, { write: text => void lines.push(JSON.parse(text) as never) });
  const make = () => new RefreshDaemon({ context: lab.context, intervalSeconds, log, random: () => 0.5 });
  return { ...time, lab, lines, make, daemon: make() };
}

const timestampOf = async (lab: ReleaseRepositoryLab) =>
  (await openRepository(lab.context)).published!.timestamp.signed.version;

test('a round signs the timestamp, and leaves one alone that is younger than half an interval', async t => {
  const { lab, daemon, make, clock } = await daemonLab(t);
  assert.equal(await daemon.round(), 'fresh', 'it was published just now');
  const first = await timestampOf(lab);
  await clock.sleep(1000 * 1000);
  assert.equal(await daemon.round(), 'signed');
  assert.equal(await timestampOf(lab), first + 1);
  assert.equal(await make().round(), 'fresh');
  assert.deepEqual(daemon.rounds, { signed: 1, fresh: 1, failed: 0 });
});

test('where nothing was ever published, both the command and the daemon say so', async t => {
  const { lab } = await daemonLab(t);
  const context = { ...lab.context, storage: fileStorage(await temporaryDirectory(t, 'refresh-cut')) };
  const onStep = (step: string) => assert.notEqual(step, 'write timestamp.json', 'cut');
  await assert.rejects(initRepository({ ...context, onStep, config: ReleaseConfig.parse({}) }), /cut/);
  await assert.rejects(refresh(context), { code: 'E_REPOSITORY_UNPUBLISHED' });
  const daemon = new RefreshDaemon({ context, intervalSeconds: 1800, log: silentLog });
  assert.equal(await daemon.round(), 'failed');
  assert.match(daemon.failure!, /^E_REPOSITORY_UNPUBLISHED: .*release publish/);
  await publish(context);
  assert.equal(await daemon.round(), 'fresh', String(daemon.failure));
});

test('a database that goes away fails a round by name, and the next one signs', async t => {
  const { open, place } = await testStorage('postgres', t);
  const directory = await temporaryDirectory(t, 'refresh-database');
  const lab = await makeReleaseRepository({ directory, storage: await open('make') });
  const daemon = new RefreshDaemon({ context: lab.context, intervalSeconds: 0.002, log: silentLog });
  assert.equal(await daemon.round(), 'signed');
  const admin = await openDatabase(place, { maxConnections: 1 });
  t.after(() => admin.close());
  // A connection whose end is known before the round is replaced, and the round signs: then once more.
  let outcome = 'signed';
  for (let times = 0; times < 20 && outcome === 'signed'; times++) {
    await sql`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()`.execute(admin.db);
    outcome = await daemon.round();
  }
  assert.equal(outcome, 'failed');
  assert.match(daemon.failure!, /^E_DATABASE_UNREACHABLE: /);
  assert.equal(await daemon.round(), 'signed', String(daemon.failure));
});

test('two daemons on one repository sign once', async t => {
  const { lab, daemon, make, clock } = await daemonLab(t);
  const before = await timestampOf(lab);
  await clock.sleep(1800 * 1000);
  const real = { ...lab.context, clock: { ...clock, sleep: (ms: number) => systemClock.sleep(ms) } };
  const other = new RefreshDaemon({ context: real, intervalSeconds: 1800, log: silentLog });
  assert.deepEqual((await Promise.all([other.round(), make().round()])).sort(), ['fresh', 'signed']);
  assert.equal(await timestampOf(lab), before + 1);
  assert.equal(daemon.failure, undefined);
});

test('the alarm of every role comes before its end; those it signs itself never come near', async t => {
  const { lab, daemon, clock, lines, onSleep } = await daemonLab(t, 6 * 3600);
  const days = 32;
  const end = clock.now() + days * 24 * HOUR;
  const stop = new AbortController();
  const alarmed = new Map<string, number>();
  const expires = new Map<string, number>();
  onSleep(() => {
    for (const [role, { alarm, due, expiresMs, secondsLeft }] of Object.entries(daemon.roles())) {
      assert.ok(!alarm || due, `${role} is due when its alarm is on`);
      if (role === 'timestamp') assert.ok(secondsLeft > 17 * 3600, `timestamp has ${secondsLeft} s`);
      if (role === 'snapshot') assert.ok(secondsLeft > 5 * 86_400, `snapshot has ${secondsLeft} s`);
      if (alarm && !alarmed.has(role)) alarmed.set(role, clock.now());
      expires.set(role, expiresMs);
    }
    if (clock.now() >= end) stop.abort();
  });
  await daemon.run(stop.signal);
  assert.deepEqual([...alarmed.keys()].sort(), ['canary', 'dev', 'trust']);
  for (const [role, at] of alarmed) {
    const left = (expires.get(role)! - at) / HOUR;
    const { resignSeconds } = (await openRepository(lab.context)).state.config[role as 'dev'];
    assert.ok(left <= resignSeconds / 3600 && left > resignSeconds / 3600 - 1, `${role}: ${left} h before`);
  }
  const told = lines.filter(line => /runs out/.test(line.msg)).map(line => line.role);
  assert.deepEqual(new Set(told), new Set(['canary', 'dev', 'trust']), 'each is logged');
  assert.equal(told.length, 3, 'once');
  assert.ok(lines.filter(line => line.role === 'dev').every(line => line.level === 50));
  assert.equal(daemon.rounds.failed, 0);
  assert.ok(daemon.roles().dev!.secondsLeft < 0, 'what has run out goes on being shown');

  await lab.resign('dev');
  await lab.publish();
  await daemon.round();
  assert.equal(daemon.roles().dev!.alarm, false);
  assert.equal(
    lines.filter(line => line.role === 'dev' && line.msg.startsWith('the role was signed')).length,
    1,
  );
});

test('without its key it goes on trying, sounds the alarm in time, and signs when the key is back', async t => {
  const { lab, clock, onSleep } = await daemonLab(t);
  const keys = openKeyDirectory({
    directory: lab.keysDirectory,
    clock,
    passphrases: passphraseSource({ file: lab.passphraseFile }),
  });
  const context = { ...lab.context, keys };
  const daemon = new RefreshDaemon({ context, intervalSeconds: 1800, log: silentLog });
  const name = (await readdir(lab.keysDirectory)).find(file => file.startsWith('timestamp'))!;
  const path = join(lab.keysDirectory, name);
  await clock.sleep(HOUR);
  await rename(path, `${path}.away`);
  assert.equal(await daemon.round(), 'failed');
  assert.match(daemon.failure!, /^E_[A-Z_]+: .*timestamp/);

  const stop = new AbortController();
  let alarmAt = 0;
  onSleep(() => {
    const timestamp = daemon.roles().timestamp!;
    if (!timestamp.alarm) return;
    alarmAt = timestamp.secondsLeft;
    stop.abort();
  });
  await daemon.run(stop.signal);
  assert.ok(alarmAt <= 12 * 3600 && alarmAt > 11.9 * 3600, `alarm with ${alarmAt} s left`);
  assert.ok(daemon.rounds.failed > 50, 'it goes on trying');
  assert.ok(daemon.rounds.failed < 100, 'and leaves time between');

  await rename(`${path}.away`, path);
  assert.equal(await daemon.round(), 'signed', String(daemon.failure));
  assert.equal(daemon.roles().timestamp!.alarm, false);
  assert.equal(daemon.failure, undefined);
});

for (const { what, by, intervals } of [
  // As after the sleep of a machine, which a monotonic clock does not count: the next round is at once.
  { what: 'forward', by: 3 * HOUR, intervals: 1.2 },
  { what: 'back', by: -3 * HOUR, intervals: 2.1 },
]) {
  test(`a clock that is set ${what} neither stops the rounds nor keeps an old timestamp`, async t => {
    const { daemon, clock, jump, onSleep, lab } = await daemonLab(t);
    const stop = new AbortController();
    const start = clock.monotonic();
    let sleeps = 0;
    onSleep(() => {
      sleeps += 1;
      if (sleeps === 2) jump(by);
      if (daemon.rounds.signed === 2 || sleeps > 200) stop.abort();
    });
    const before = await timestampOf(lab);
    await daemon.run(stop.signal);
    assert.equal(await timestampOf(lab), before + 2);
    const passed = clock.monotonic() - start;
    assert.ok(passed <= intervals * 1800 * 1000, `two rounds took ${passed / 1000} s`);
    assert.ok(daemon.roles().timestamp!.secondsLeft > 23 * 3600);
  });
}

test('metrics and readiness, over a real socket', async t => {
  const { daemon, clock, lab } = await daemonLab(t);
  const { server, url } = await serveRefresh({ daemon, address: '127.0.0.1:0', log: silentLog });
  t.after(() => server.close());
  const ready = await get(`${url}/readyz`);
  assert.equal(ready.status, 503);
  assert.match(ready.body.toString(), /first round has not ended/);
  await clock.sleep(HOUR);
  await daemon.round();
  assert.equal((await get(`${url}/readyz`)).status, 200);
  const text = async () => (await get(`${url}/metrics`)).body.toString();
  let shown = await text();
  for (const line of [
    'pilotage_release_role_expires_seconds{role="timestamp"} 86400',
    'pilotage_release_alarm{role="stable"} 0',
    'pilotage_release_due{role="root"} 0',
    'pilotage_release_rounds_total{outcome="signed"} 1',
    'pilotage_release_rounds_total{outcome="failed"} 0',
    `pilotage_release_last_success_timestamp_seconds ${clock.now() / 1000}`,
    `pilotage_release_role_version{role="timestamp"} ${await timestampOf(lab)}`,
    `pilotage_release_info{version="${buildVersion}"} 1`,
  ]) {
    assert.ok(shown.split('\n').includes(line), `${line} in\n${shown}`);
  }
  await clock.sleep(10 * 24 * HOUR);
  shown = await text();
  assert.match(shown, /^pilotage_release_alarm\{role="timestamp"\} 1$/m);
  assert.match(shown, /^pilotage_release_alarm\{role="dev"\} 1$/m);
  assert.match(shown, /^pilotage_release_role_expires_seconds\{role="timestamp"\} -777600$/m);
  const late = await get(`${url}/readyz`);
  assert.equal(late.status, 503);
  assert.match(late.body.toString(), /role dev runs out at .*: pilotage release resign dev/);
  assert.equal(late.headers['cache-control'], 'no-store');
});

test('the command: waits for its turn, signs, answers, and ends on SIGTERM', async t => {
  const directory = await temporaryDirectory(t, 'refresh-command');
  const lab = await makeReleaseRepository({ directory });
  const before = await timestampOf(lab);
  const args = ['release', 'refresh', '--repo', lab.directory, '--keys', lab.keysDirectory];
  const start = () =>
    startDaemon({
      name: 'refresh daemon',
      command: process.execPath,
      args: [
        program,
        ...args,
        '--daemon',
        '--interval-seconds',
        '2',
        '--listen',
        '127.0.0.1:0',
        '--passphrase-file',
        lab.passphraseFile,
      ],
      ready: ({ stdout }) => stdout().includes('"ready":true'),
    });
  const daemon = await withRepositoryLock({ storage: lab.context.storage, clock: systemClock }, async () => {
    const started = await start();
    const { url } = JSON.parse(started.stdout()) as { url: string };
    assert.equal((await get(`${url}/livez`)).status, 200);
    assert.equal((await get(`${url}/readyz`)).status, 503);
    assert.equal(await timestampOf(lab), before);
    return started;
  });
  const { url } = JSON.parse(daemon.stdout()) as { url: string };
  await waitUntil('it is ready', async () => (await get(`${url}/readyz`)).status === 200, { seconds: 20 });
  await waitUntil('it has signed', async () => (await timestampOf(lab)) > before, { seconds: 30 });
  assert.match((await get(`${url}/metrics`)).body.toString(), /rounds_total\{outcome="signed"\} [1-9]/);
  process.kill(daemon.pid, 'SIGTERM');
  assert.deepEqual(await daemon.exited, { code: 0, signal: null });
});
