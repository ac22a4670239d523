import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Source } from '../../../../codecache/client/download.ts';
import { PathHealth } from '../../../../codecache/client/path-health.ts';
import { throughPaths } from '../../../../codecache/client/through-paths.ts';
import { PilotageError } from '../../../../lib/errors.ts';
import { silentLog } from '../../../../lib/log.ts';

const error = (code: string, where = 'http://x/f') => new PilotageError({ code, message: code, where });
const UNREACHABLE = 'E_CACHE_UNREACHABLE';

/** Runs with a clock that jumps; each cache answers with the codes listed for it, one at each try, then well. */
async function run(
  caches: string[],
  answers: Record<string, string[]>,
  options: { patienceSeconds?: number; signal?: AbortSignal } = {},
) {
  let ms = 0;
  const clock = {
    now: () => ms,
    monotonic: () => ms,
    sleep: (wait: number, signal?: AbortSignal) => {
      ms += wait;
      return signal?.aborted === true ? Promise.reject(signal.reason as Error) : Promise.resolve();
    },
  };
  const tried: string[] = [];
  const attempt = ({ cache, noCache }: Source) => {
    tried.push(`${cache.slice(7)}${noCache ? '!' : ''}`);
    const code = answers[cache.slice(7)]?.shift();
    return code === undefined ? Promise.resolve(cache) : Promise.reject(error(code));
  };
  const health = new PathHealth({ clock, random: () => 0 });
  const outcome = await throughPaths(
    { caches, health, patienceSeconds: 0, clock, log: silentLog, ...options },
    attempt,
  ).then(
    ({ value, refusals }) => ({ value, refusals, code: undefined }),
    (thrown: PilotageError) => ({ value: undefined, refusals: thrown.refusals ?? [], code: thrown.code }),
  );
  return { ...outcome, tried, seconds: ms / 1000 };
}

test('a refusal is tried once more past the same cache, an unreachable one is left at once', async () => {
  const { value, tried, refusals } = await run(['http://a|http://b', 'http://c'], {
    a: ['E_TUF_HASH', 'E_TUF_HASH'],
    b: [UNREACHABLE],
  });
  assert.equal(value, 'http://c');
  assert.deepEqual(tried, ['a', 'a!', 'b', 'c']);
  assert.deepEqual(refusals, [{ cache: 'http://a', code: 'E_TUF_HASH', where: 'http://x/f' }], 'named once');
});

test('what lay broken in a cache is named, though past it all was well', async () => {
  const { value, tried, refusals } = await run(['http://a'], { a: ['E_TARGET_HASH'] });
  assert.deepEqual([value, tried, refusals.length], ['http://a', ['a', 'a!'], 1]);
});

test('what was signed is nobody’s lie; what this machine lacks ends it', async () => {
  for (const code of ['E_CHANNEL_YANKED', 'E_CHANNEL_MISMATCH', 'E_TARGET_UNKNOWN', 'E_ARCHIVE_UNSAFE']) {
    const signed = await run(['http://a'], { a: [code, code] });
    assert.deepEqual([signed.code, signed.refusals], [code, []]);
  }
  for (const code of ['E_DISK_FULL', 'E_CLOCK', 'E_STORE_LOCKED', 'E_ARCH_UNSUPPORTED']) {
    const ended = await run(['http://a', 'http://b'], { a: [code] });
    assert.deepEqual([ended.code, ended.tried], [code, ['a']]);
  }
});

test('a refusal weighs more than a cache that is gone, in either order', async () => {
  for (const caches of [
    ['http://a', 'http://b'],
    ['http://b', 'http://a'],
  ]) {
    const { code } = await run(caches, { a: [UNREACHABLE], b: ['E_TUF_STALE', 'E_TUF_STALE'] });
    assert.equal(code, 'E_TUF_STALE');
  }
});

test('those that were gone are tried again with growing rests, those that lied are not', async () => {
  const answers = { a: Array<string>(3).fill(UNREACHABLE), b: ['E_TUF_HASH', 'E_TUF_HASH'] };
  const { value, tried, seconds } = await run(['http://a', 'http://b'], answers, { patienceSeconds: 30 });
  assert.equal(value, 'http://a');
  assert.deepEqual(tried, ['a', 'b', 'b!', 'a', 'a', 'a']);
  assert.ok(seconds > 9 && seconds < 12, `${seconds} s: 2, 4, 8, each less a quarter`);
});

test('patience ends, and 0 is one round', async () => {
  const gone = { a: Array<string>(100).fill(UNREACHABLE) };
  assert.deepEqual((await run(['http://a'], gone)).tried, ['a']);
  const { code, tried, seconds } = await run(['http://a'], gone, { patienceSeconds: 30 });
  assert.equal(code, UNREACHABLE);
  assert.ok(seconds <= 30 && tried.length > 3 && tried.length < 8, `${tried.length} in ${seconds} s`);
});

test('an abort ends the rounds with its own reason, a defect ends them as it is', async () => {
  const abort = new AbortController();
  abort.abort(new Error('told to stop'));
  const gone = { a: [UNREACHABLE, UNREACHABLE] };
  assert.equal(
    (await run(['http://a'], gone, { signal: abort.signal, patienceSeconds: 30 })).tried.length,
    1,
  );
  const health = new PathHealth();
  const options = { caches: ['http://a'], health, patienceSeconds: 0, log: silentLog };
  const clock = { now: () => 0, monotonic: () => 0, sleep: () => Promise.resolve() };
  await assert.rejects(
    throughPaths({ ...options, clock }, () => Promise.reject(new TypeError('a defect'))),
    TypeError,
  );
});
