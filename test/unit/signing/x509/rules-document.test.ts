import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { chainRules } from '../../../../signing/x509/rules.ts';

const file = new URL('../../../../docs/reference/certificate-rules.md', import.meta.url);

test('the reference of certificate rules lists exactly the rules of the verifier', () => {
  const rows = Object.entries(chainRules).map(
    ([rule, { code, expected, source }]) => `| \`${rule}\` | ${expected} | \`${code}\` | ${source} |`,
  );
  const listed = readFileSync(file, 'utf8')
    .split('\n')
    .filter(line => line.startsWith('| `'));
  assert.deepEqual(listed, rows);
});
