import { test } from 'node:test';
import assert from 'node:assert/strict';
import type { PilotageError } from '../../../lib/errors.ts';
import { requireNodeTools } from '../../../ops/site/node-tools.ts';

test('every program that the bootstrap needs and this PATH lacks is named at once', () => {
  requireNodeTools();
  assert.throws(
    () => requireNodeTools('/nonexistent'),
    (error: PilotageError) => {
      assert.equal(error.code, 'E_NODE_TOOL');
      for (const name of ['sh', 'awk', 'openssl', 'tar', 'gzip', 'curl or wget'])
        assert.match(error.found!, new RegExp(`no ${name}`));
      return true;
    },
  );
});
