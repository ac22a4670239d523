import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeFailure, retryAfterMs } from '../../../../../codecache/proxy/upstreams/upstream-failure.ts';

test('Retry-After in seconds, as a date by the clock of its writer, or as nothing', () => {
  const now = Date.UTC(2026, 0, 1);
  const in90s = new Date(now + 90_000).toUTCString();
  assert.equal(retryAfterMs('7', '', now), 7000);
  assert.equal(retryAfterMs(' 0 ', '', now), 0);
  assert.equal(retryAfterMs(in90s, '', now), 90_000);
  const behind = new Date(now - 3_600_000).toUTCString();
  assert.equal(retryAfterMs(new Date(now - 3_590_000).toUTCString(), behind, now), 10_000);
  assert.equal(retryAfterMs(behind, '', now), 0);
  for (const odd of ['', 'undefined', '-1', '1.5', '1e9', 'soon', '99999999999'])
    assert.equal(retryAfterMs(odd, '', now), undefined, odd);
});

test('failures are named for people, time limits told apart', () => {
  const error = (code: string) => Object.assign(new Error('x'), { code });
  assert.deepEqual(describeFailure(error('ECONNREFUSED')), { found: 'ECONNREFUSED', timeout: false });
  assert.deepEqual(describeFailure(error('ETIMEDOUT')), { found: 'ETIMEDOUT', timeout: true });
  assert.deepEqual(describeFailure(error('UND_ERR_BODY_TIMEOUT')), {
    found: 'no byte for too long',
    timeout: true,
  });
  assert.equal(describeFailure(AbortSignal.abort(new DOMException('', 'TimeoutError')).reason).timeout, true);
  assert.deepEqual(describeFailure('status 503'), { found: 'status 503', timeout: false });
});
