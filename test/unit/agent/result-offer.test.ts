import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { offerResult } from '../../../agent/result-offer.ts';
import type { OfferOptions } from '../../../agent/result-offer.ts';
import type { ApiClient } from '../../../lib/api-client.ts';
import { systemClock } from '../../../lib/clock.ts';
import { libError } from '../../../lib/errors.ts';
import { newId } from '../../../lib/ids.ts';
import { silentLog } from '../../../lib/log.ts';
import { wireError } from '../../../lib/problem.ts';

let root: string;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'pilotage-offer-'));
});
after(() => rm(root, { recursive: true }));

/** A clock in which sleeping takes no time but moves it. */
function quickClock() {
  let now = 0;
  const sleep = async (milliseconds: number, signal?: AbortSignal) => {
    signal?.throwIfAborted();
    now += milliseconds;
  };
  return { now: () => now, monotonic: () => now, sleep };
}

async function offer(answer: (round: number) => unknown, more: Partial<OfferOptions> = {}) {
  const attemptId = newId();
  const directory = join(root, attemptId);
  const keys: string[] = [];
  let keptWhenSent = true;
  const call = async (_name: string, input: { idempotencyKey: string }) => {
    keptWhenSent &&= existsSync(join(directory, `${attemptId}.json`));
    keys.push(input.idempotencyKey);
    return answer(keys.length);
  };
  const offered = await offerResult({
    api: () => ({ call, close: async () => undefined }) as unknown as ApiClient,
    renew: async () => undefined,
    sendLogs: async () => undefined,
    attemptId,
    body: {
      incarnation: 'first',
      outcome: 'finished',
      cause: null,
      usage: { wallSeconds: 1 },
      outputs: [],
      release: null,
    },
    directory,
    patienceSeconds: 3600,
    stopping: new AbortController().signal,
    hurry: new AbortController().signal,
    clock: quickClock(),
    log: silentLog,
    ...more,
  });
  return { offered, keys, keptWhenSent, left: await readdir(directory), directory };
}
const away = () => {
  throw libError({ code: 'E_UNREACHABLE', message: 'away' });
};
const accepted = { accepted: true, jobState: 'finished' };

test('it is in its file before it is sent, offered with one key until it is answered, then removed', async () => {
  const { offered, keys, keptWhenSent, left } = await offer(round => (round < 6 ? away() : accepted));
  assert.deepEqual(offered, { kind: 'accepted', jobState: 'finished' });
  assert.equal(keys.length, 6);
  assert.equal(new Set(keys).size, 1);
  assert.ok(keptWhenSent);
  assert.deepEqual(left, []);
});

test('when patience runs out it stays in its file, readable by its owner only', async () => {
  const { offered, left } = await offer(away, { patienceSeconds: 10 });
  assert.equal(offered.kind, 'kept');
  assert.equal(left.length, 1);
  const { file } = offered as { file: string };
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(JSON.parse(readFileSync(file, 'utf8')).body.outcome, 'finished');
});

test('fenced or refused: dropped; from another incarnation of the database: kept for an operator', async () => {
  const fenced = await offer(() => {
    throw wireError('E_FENCED', 'replaced');
  });
  assert.deepEqual(fenced.offered, { kind: 'refused', code: 'E_FENCED' });
  assert.deepEqual(fenced.left, []);
  const restored = await offer(() => {
    throw wireError('E_FENCED', 'restored', { rule: 'database-incarnation' });
  });
  assert.equal(restored.offered.kind, 'kept');
  assert.equal(restored.left.length, 1);
});

test('logs go before the result, once; logs that are refused do not hold it', async () => {
  let sent = 0;
  const sendLogs = async () => {
    sent += 1;
    if (sent < 3) throw libError({ code: 'E_UNREACHABLE', message: 'away' });
  };
  const later = await offer(() => accepted, { sendLogs });
  assert.equal(sent, 3);
  assert.equal(later.keys.length, 1);
  const refused = await offer(() => accepted, {
    sendLogs: async () => {
      throw wireError('E_FENCED', 'lost');
    },
  });
  assert.equal(refused.offered.kind, 'accepted');
});

test('a pilot that is told to end tries for 20 s more, and once in a hurry', async () => {
  const clock = quickClock();
  const stopped = await offer(away, { stopping: AbortSignal.abort(), clock });
  assert.equal(stopped.offered.kind, 'kept');
  assert.ok(clock.now() > 15_000 && clock.now() < 60_000, String(clock.now()));
  const hurried = await offer(away, { hurry: AbortSignal.abort(), clock: systemClock });
  assert.equal(hurried.keys.length, 1);
});

test('logs that no server will ever take do not keep the result', async () => {
  let tries = 0;
  const { offered, keys } = await offer(() => accepted, {
    sendLogs: async () => {
      tries += 1;
      throw libError({ code: 'E_STEP_STUCK' as 'E_TIMEOUT', message: 'slow' });
    },
  });
  assert.equal(offered.kind, 'accepted');
  assert.equal(keys.length, 1);
  assert.ok(tries >= 2 && tries <= 4, `${tries} tries`);
});
