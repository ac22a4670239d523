import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { killed, terminated } from '../../../agent/stop.ts';
import { PayloadFixture, isAlive } from './payload-fixture.ts';

const MIB = 2 ** 20;

test('exit code 0 is no cause; stdout, stderr and the usage are there', async () => {
  await using payload = await PayloadFixture.create();
  const { usage, cause, stopped } = await payload.run({ command: ['sh', '-c', 'echo out; echo err >&2'] });
  assert.equal(cause, null);
  assert.equal(stopped, undefined);
  assert.equal(usage.exitCode, 0);
  assert.equal(usage.signal, null);
  assert.equal(await payload.output('stdout'), 'out\n');
  assert.equal(await payload.output('stderr'), 'err\n');
});

test('a non-zero exit code is the cause, with the code', async () => {
  await using payload = await PayloadFixture.create();
  const { usage, cause } = await payload.run({ command: ['sh', '-c', 'exit 37'] });
  assert.deepEqual(cause, { code: 'PAYLOAD_EXIT', text: 'exit code 37' });
  assert.equal(usage.exitCode, 37);
});

test('a signal that nobody here sent is told apart from an exit', async () => {
  await using payload = await PayloadFixture.create();
  const { usage, cause } = await payload.run({ command: ['sh', '-c', 'kill -SEGV $$'] });
  assert.equal(cause?.code, 'PAYLOAD_SIGNAL');
  assert.match(cause.text, /SIGSEGV/);
  assert.equal(usage.signal, 'SIGSEGV');
  assert.equal(usage.exitCode, null);
});

test('a command that is not there, and an interpreter that is not there, never start', async () => {
  await using payload = await PayloadFixture.create();
  await assert.rejects(payload.run({ command: ['no-such-program-here'] }), {
    code: 'E_PAYLOAD_NOT_STARTED',
    message: /no-such-program-here/,
  });
  await using other = await PayloadFixture.create();
  await writeFile(join(other.work, 'script'), '#!/no/such/interpreter\n');
  await assert.rejects(other.run({ command: ['script'] }), {
    code: 'E_PAYLOAD_NOT_STARTED',
    message: /\/no\/such\/interpreter/,
  });
});

test('arguments and environments that no program can be given never start', async () => {
  await using zero = await PayloadFixture.create();
  await assert.rejects(zero.run({ command: ['echo', 'a\0b'] }), { code: 'E_PAYLOAD_NOT_STARTED' });
  await using large = await PayloadFixture.create();
  const environment = Object.fromEntries(
    Array.from({ length: 400 }, (_, index) => [`V${index}`, 'x'.repeat(8192)]),
  );
  await assert.rejects(large.run({ command: ['true'], environment }), {
    code: 'E_PAYLOAD_NOT_STARTED',
    message: /larger than the system takes/,
  });
  assert.ok(!existsSync(large.groupFile));
});

test('the command is looked up in the work directory before PATH, and made executable', async () => {
  await using payload = await PayloadFixture.create();
  await writeFile(join(payload.work, 'ls'), '#!/bin/sh\necho mine "$1"\n', { mode: 0o600 });
  const { cause } = await payload.run({ command: ['ls', 'an argument'] });
  assert.equal(cause, null);
  assert.equal(await payload.output(), 'mine an argument\n');
});

test('the environment holds what the contract names and nothing of the pilot', async () => {
  await using payload = await PayloadFixture.create();
  process.env.PILOT_ONLY_SECRET = 'do not pass on';
  await payload.run({
    command: ['env'],
    environment: { MINE: 'yes', PATH: '/bin:/usr/bin', PILOTAGE_ATTEMPT: 'forged' },
  });
  delete process.env.PILOT_ONLY_SECRET;
  const names = (await payload.output()).trim().split('\n');
  const byName = Object.fromEntries(names.map(line => line.split('=', 2))) as Record<string, string>;
  const expected = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'MINE', 'PWD', 'PILOTAGE_JOB_ID', 'PILOTAGE_ATTEMPT'];
  expected.push('PILOTAGE_ATTEMPT_NUMBER', 'PILOTAGE_INSTANCE', 'PILOTAGE_CORES', 'PILOTAGE_SERVERS');
  expected.push('PILOTAGE_SERVER_CA');
  assert.deepEqual(Object.keys(byName).toSorted(), expected.toSorted());
  assert.equal(byName.PILOTAGE_ATTEMPT, payload.attemptId);
  assert.equal(byName.HOME, payload.work);
  assert.equal(byName.PATH, '/bin:/usr/bin');
});

test('it runs in its own session, with no descriptor but stdin, stdout and stderr; these may be opened by name', async () => {
  await using payload = await PayloadFixture.create();
  await payload.run({
    command: [
      'sh',
      '-c',
      'ls /proc/$$/fd | tr "\\n" " "; cat; echo named > /dev/stderr; ps -o pid=,sid= -p $$',
    ],
  });
  const [descriptors, ...rest] = (await payload.output()).split('\n');
  assert.match(descriptors!, /^0 1 2 /);
  assert.doesNotMatch(descriptors!, /^0 1 2 3 /);
  assert.equal(await payload.output('stderr'), 'named\n');
  const [pid, session] = `${descriptors} ${rest.join(' ')}`.trim().split(/\s+/).slice(-2);
  assert.equal(pid, session);
});

test('its process group is on disk before it runs, and no longer when it has ended', async () => {
  await using payload = await PayloadFixture.create();
  await payload.run({ command: ['sh', '-c', `cat ${payload.groupFile}; echo $$`] });
  const [written, own] = (await payload.output()).trim().split('\n');
  assert.equal(written, own);
  assert.ok(!existsSync(payload.groupFile));
});

test('over its wall-clock limit it gets SIGTERM, then SIGKILL', async () => {
  await using payload = await PayloadFixture.create();
  const { cause, usage } = await payload.run({
    command: ['sh', '-c', 'trap "echo asked" TERM; while :; do sleep 0.05; done'],
    limits: { wallSeconds: 1 },
  });
  assert.equal(cause?.code, 'WALLTIME_EXCEEDED');
  assert.match(cause.text, /1 s of 1 s/);
  assert.equal(usage.signal, 'SIGKILL');
  assert.ok(usage.wallSeconds >= 1.2 && usage.wallSeconds < 4, String(usage.wallSeconds));
  assert.match(await payload.output(), /asked/);
});

test('a payload that ends on SIGTERM is not waited for any longer', async () => {
  await using payload = await PayloadFixture.create();
  const { usage } = await payload.run(
    { command: ['sleep', '60'], limits: { wallSeconds: 1 } },
    { killGraceSeconds: 30 },
  );
  assert.equal(usage.signal, 'SIGTERM');
  assert.ok(usage.wallSeconds < 3, String(usage.wallSeconds));
});

test('memory is the sum of the whole tree, and the evidence names peak and limit', async () => {
  await using payload = await PayloadFixture.create();
  const hog = 'awk \'BEGIN { s = sprintf("%40000000s", "x"); while (1) system("sleep 1") }\'';
  const { cause, usage } = await payload.run({
    command: ['sh', '-c', `${hog} & ${hog} & ${hog} & wait`],
    limits: { memoryBytes: 100 * MIB },
  });
  assert.equal(cause?.code, 'MEMORY_EXCEEDED');
  assert.match(cause.text, /^peak \d+ MiB of 100 MiB$/);
  assert.ok(usage.peakMemoryBytes! > 100 * MIB);
});

test('memory of a child in a session of its own counts too', async () => {
  await using payload = await PayloadFixture.create();
  const hog = 'awk "BEGIN { s = sprintf(\\"%120000000s\\", \\"x\\"); system(\\"sleep 20\\") }"';
  const { cause } = await payload.run({
    command: ['sh', '-c', `setsid ${hog} & sleep 20`],
    limits: { memoryBytes: 64 * MIB },
  });
  assert.equal(cause?.code, 'MEMORY_EXCEEDED');
});

test('below its limits the peak is reported, near what was really used', async () => {
  await using payload = await PayloadFixture.create();
  const { cause, usage } = await payload.run({
    command: ['awk', 'BEGIN { s = sprintf("%60000000s", "x"); system("sleep 0.4") }'],
  });
  assert.equal(cause, null);
  assert.ok(
    usage.peakMemoryBytes! > 55 * MIB && usage.peakMemoryBytes! < 160 * MIB,
    String(usage.peakMemoryBytes),
  );
});

test('CPU seconds of all processes that were reaped are counted', async () => {
  await using payload = await PayloadFixture.create();
  const spin = 'awk "BEGIN { for (i = 0; i < 6000000; i++) s += i }"';
  const { usage } = await payload.run({ command: ['sh', '-c', `${spin}; ${spin}`] });
  assert.ok(usage.cpuSeconds! > 0.1, String(usage.cpuSeconds));
});

test('over its disk limit it ends, also when it was faster than the watch', async () => {
  await using slow = await PayloadFixture.create();
  const limits = { diskBytes: 10 * MIB };
  const write = 'dd if=/dev/zero of=big bs=1M count=20 2>/dev/null';
  const watched = await slow.run({ command: ['sh', '-c', `${write}; sleep 30`], limits });
  assert.equal(watched.cause?.code, 'DISK_EXCEEDED');
  assert.match(watched.cause.text, /^used (1[1-9]|20) MiB of 10 MiB$/);
  await using fast = await PayloadFixture.create();
  const ended = await fast.run({ command: ['sh', '-c', write], limits });
  assert.equal(ended.cause?.code, 'DISK_EXCEEDED');
});

test('100 MB of log are drained, the first and the last part kept, the cut marked', async () => {
  await using payload = await PayloadFixture.create();
  const { cause } = await payload.run({
    command: ['sh', '-c', 'echo first; head -c 100000000 /dev/zero | tr "\\0" x; echo; echo last'],
    limits: { logBytes: 65_536 },
  });
  assert.equal(cause, null);
  const output = await payload.output();
  assert.ok(output.startsWith('first\nxxx'));
  assert.ok(output.endsWith('xxx\nlast\n'));
  assert.match(output, /\n\[pilotage: 99934604 of 100000012 bytes cut here; limits.logBytes is 65536\]\n/);
  assert.ok(output.length < 66_000);
  assert.ok(payload.stdout.tail().endsWith('last\n'));
});

test('whatever escaped into a session of its own is ended with the payload', async () => {
  await using payload = await PayloadFixture.create();
  const escape =
    'setsid sh -c "(trap \\"\\" TERM; echo \\$\\$ > escaped.pid; while :; do sleep 0.1; done) &" &';
  const { cause } = await payload.run({
    command: ['sh', '-c', `${escape} while [ ! -s escaped.pid ]; do sleep 0.02; done; sleep 0.1`],
  });
  assert.equal(cause, null);
  const pid = await payload.pidIn('escaped.pid');
  assert.ok(!isAlive(pid), `process ${pid} is still there`);
});

test('a double fork that no sample saw is found by its mark', async () => {
  await using payload = await PayloadFixture.create();
  const fork = 'setsid sh -c "sh -c \'echo \\$\\$ > escaped.pid; exec sleep 300\' &"';
  await payload.run(
    { command: ['sh', '-c', `${fork}; while [ ! -s escaped.pid ]; do sleep 0.01; done`] },
    { sampleMs: 10_000 },
  );
  const pid = await payload.pidIn('escaped.pid');
  assert.ok(!isAlive(pid), `process ${pid} is still there`);
});

test('a leftover that holds the output open does not hold the pilot', async () => {
  await using payload = await PayloadFixture.create();
  const started = performance.now();
  await payload.run({ command: ['sh', '-c', 'sleep 300 & echo done'] });
  assert.ok(performance.now() - started < 5000);
  assert.equal(await payload.output(), 'done\n');
});

test('told to stop, it ends and says why; in a hurry without any grace', async () => {
  await using payload = await PayloadFixture.create();
  const stop = new AbortController();
  const running = payload.run(
    { command: ['sh', '-c', 'trap "" TERM; echo $$ > own.pid; while :; do sleep 0.1; done'] },
    { stop: stop.signal, killGraceSeconds: 60, hurry: AbortSignal.abort() },
  );
  const pid = await payload.pidIn('own.pid');
  stop.abort(terminated('SIGTERM'));
  const { cause, stopped, usage } = await running;
  assert.equal(cause?.code, 'PILOT_TERMINATED');
  assert.equal(stopped?.kind, 'terminated');
  assert.equal(usage.signal, 'SIGKILL');
  assert.ok(!isAlive(pid));

  await using other = await PayloadFixture.create();
  const result = await other.run(
    { command: ['sleep', '60'] },
    { stop: AbortSignal.abort(killed('by a test')) },
  );
  assert.deepEqual(result.cause, { code: 'KILLED', text: 'by a test' });
});

test('when the group cannot be written down, nothing is started', async () => {
  await using payload = await PayloadFixture.create();
  await assert.rejects(
    payload.run(
      { command: ['sh', '-c', 'echo ran > ran'] },
      { groupFile: join(payload.root, 'no/such/dir/pgid') },
    ),
    { code: 'E_FILE_MISSING' },
  );
  await assert.rejects(readFile(join(payload.work, 'ran')));
});
