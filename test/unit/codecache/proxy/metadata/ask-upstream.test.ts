import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { objectName } from '../../../../../codecache/http/object-name.ts';
import { askUpstream } from '../../../../../codecache/proxy/metadata/ask-upstream.ts';
import { UpstreamPool } from '../../../../../codecache/proxy/upstreams/upstream-pool.ts';
import { Upstreams } from '../../../../../codecache/proxy/upstreams/upstreams.ts';
import { systemClock } from '../../../../../lib/clock.ts';
import { silentLog } from '../../../../../lib/log.ts';

const TIMEOUTS = { connectSeconds: 1, headerSeconds: 1, stallSeconds: 1, totalSeconds: 3600 };

test('a body that comes byte by byte is given up after a minute, so that the next upstream is asked', async t => {
  const pool = new UpstreamPool({ clock: systemClock, log: silentLog, timeouts: TIMEOUTS });
  t.after(() => pool.close());
  const upstreams = new Upstreams({ groups: ['http://127.0.0.1:1'], pool });
  const [upstream] = upstreams.order();
  const body = new Readable({ read: () => undefined });
  t.mock.method(upstreams, 'ask', async () => ({ status: 200, headers: {}, body }));
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const asked = askUpstream({
    upstreams,
    upstream: upstream!,
    name: objectName('metadata/timestamp.json'),
    named: undefined,
    stored: undefined,
    wish: { noCache: false, via: '1.1 test' },
    selecting: {},
    clock: systemClock,
    maxBytes: 2 ** 20,
  });
  const outcome = assert.rejects(asked, { code: 'E_UPSTREAM_TIMEOUT', found: 'not whole in time' });
  body.push('{');
  await new Promise(setImmediate);
  assert.equal(body.destroyed, false);
  t.mock.timers.tick(61_000);
  assert.equal(body.destroyed, true);
  await outcome;
});
