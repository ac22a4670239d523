import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Heartbeats, isGone } from '../../../agent/heartbeats.ts';
import type { ApiClient } from '../../../lib/api-client.ts';
import { systemClock } from '../../../lib/clock.ts';
import { libError } from '../../../lib/errors.ts';
import { newId } from '../../../lib/ids.ts';
import { silentLog } from '../../../lib/log.ts';
import { wireError } from '../../../lib/problem.ts';
import type { RequestBody } from '../../../lib/protocol.ts';
import type { Lease, PilotCommand } from '../../../lib/protocol/job.ts';

const lease = { attemptId: newId(), incarnation: 'first', heartbeatSeconds: 0.005 } as Lease;

/** Heartbeats against answers made here; `answer` may throw. */
function beat(answer: (body: RequestBody<'heartbeat'>) => PilotCommand[], heartbeatSeconds = 0.005) {
  const bodies: RequestBody<'heartbeat'>[] = [];
  const commands: PilotCommand[] = [];
  const gone: string[] = [];
  const call = async (_name: string, input: { body: RequestBody<'heartbeat'> }) => {
    bodies.push(input.body);
    return { leaseSeconds: 60, commands: answer(input.body) };
  };
  const heartbeats = new Heartbeats({
    api: () => ({ call, close: async () => undefined }) as unknown as ApiClient,
    lease: { ...lease, heartbeatSeconds },
    progress: () => ({ state: 'running' }),
    onCommand: command => commands.push(command),
    onGone: code => gone.push(code),
    onBeat: async () => undefined,
    clock: systemClock,
    log: silentLog,
  });
  return { heartbeats, bodies, commands, gone };
}

async function until(probe: () => boolean): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!probe()) {
    if (Date.now() > deadline) throw new Error('timed out');
    await new Promise(resolve => setTimeout(resolve, 2));
  }
}

test('a command that comes again and again is obeyed once, and acknowledged until it is heard', async () => {
  const command: PilotCommand = { id: newId(), verb: 'kill', reason: 'once', because: null };
  let deaf = true;
  const { heartbeats, bodies, commands } = beat(body => {
    if (body.acknowledged?.length && !deaf) return [];
    if (body.acknowledged?.length) {
      deaf = false;
      throw libError({ code: 'E_UNREACHABLE', message: 'lost' });
    }
    return [command];
  });
  await until(() => bodies.length >= 6);
  await heartbeats.stop();
  assert.deepEqual(commands, [command]);
  assert.deepEqual(
    bodies.slice(0, 4).map(body => body.acknowledged),
    [[], [command.id], [command.id], []],
  );
});

test('servers that are away, busy or not understood end nothing', async () => {
  const errors = [
    libError({ code: 'E_UNREACHABLE', message: 'x' }),
    libError({ code: 'E_TIMEOUT', message: 'x' }),
    libError({ code: 'E_PROTOCOL', message: 'a verb that we do not know' }),
    wireError('E_OVERLOADED', 'x'),
    wireError('E_INTERNAL', 'x'),
  ];
  const { heartbeats, bodies, gone } = beat(() => {
    const error = errors.shift();
    if (error) throw error;
    return [];
  });
  await until(() => bodies.length >= 7);
  await heartbeats.stop();
  assert.deepEqual(gone, []);
});

test('fenced or gone is told once, and no heartbeat follows', async () => {
  for (const code of ['E_FENCED', 'E_JOB_GONE', 'E_ILLEGAL_TRANSITION'] as const) {
    const { heartbeats, bodies, gone } = beat(() => {
      throw wireError(code, 'x');
    });
    await until(() => gone.length > 0);
    heartbeats.reportNow();
    await heartbeats.stop();
    assert.deepEqual(gone, [code]);
    assert.equal(bodies.length, 1);
  }
  assert.ok(!isGone(wireError('E_NOT_READY', 'x')));
});

test('what is worth telling is told at once, also when it comes while one is on its way', async () => {
  const { heartbeats, bodies } = beat(() => [], 1000);
  heartbeats.reportNow();
  await until(() => bodies.length === 1);
  heartbeats.reportNow();
  await until(() => bodies.length === 2);
  await heartbeats.stop();
  assert.equal(bodies.length, 2);
});

test('neither a server that asks again and again nor a period of nothing makes a busy loop', async () => {
  const { heartbeats, bodies } = beat(() => [], 0);
  await until(() => bodies.length >= 1);
  await new Promise(resolve => setTimeout(resolve, 300));
  await heartbeats.stop();
  assert.ok(bodies.length <= 40, `${bodies.length} heartbeats in 300 ms`);
});
