import { test } from 'node:test';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { TrustAnchors } from '../../../agent/trust-anchors.ts';
import type { TrustOptions } from '../../../agent/trust-anchors.ts';
import { silentLog } from '../../../lib/log.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';

const { signal } = new AbortController();

test('without a code store there is no bundle: only who must have it may not go on', async t => {
  const sandbox = await temporaryDirectory(t, 'anchors');
  const anchors = async (more: Partial<TrustOptions>) => {
    const made = new TrustAnchors({
      mode: 'prefer-site',
      access: null,
      sandbox,
      floors: () => null,
      log: silentLog,
      siteCertificates: join(sandbox, 'none'),
      ...more,
    });
    await made.renew(signal);
    return [made.ready, made.environment];
  };
  assert.deepEqual(await anchors({ mode: 'site' }), [true, {}]);
  assert.deepEqual(await anchors({ mode: 'prefer-site' }), [true, {}]);
  assert.deepEqual(await anchors({ mode: 'prefer-site', siteCertificates: sandbox }), [true, {}]);
  assert.deepEqual(await anchors({ mode: 'bundle' }), [false, {}]);
});
