import { test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod';
import { loadConfig } from '../../../lib/config.ts';
import type { PilotageError } from '../../../lib/errors.ts';

const schema = z.strictObject({
  listen: z.string().default('127.0.0.1:0'),
  leaseSeconds: z.number().positive().default(180),
  queues: z.array(z.string()).default([]),
});

async function load(
  text: string | undefined,
  env: Record<string, string> = {},
  flags: Record<string, unknown> = {},
) {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-config-'));
  try {
    const file = join(directory, 'server.yaml');
    if (text !== undefined) await writeFile(file, text);
    return await loadConfig({
      schema,
      file: text === undefined ? undefined : file,
      envPrefix: 'PILOTAGE_SERVER_',
      env,
      flags,
    });
  } finally {
    await rm(directory, { recursive: true });
  }
}

test('defaults < file < environment < flags, and each value knows its source', async () => {
  const { value, sources } = await load(
    'leaseSeconds: 10\nqueues: [a]\n',
    { PILOTAGE_SERVER_QUEUES: '["b"]' },
    { listen: '[::1]:1' },
  );
  assert.deepEqual(value, { listen: '[::1]:1', leaseSeconds: 10, queues: ['b'] });
  assert.deepEqual(sources, { listen: 'flag', leaseSeconds: 'file', queues: 'environment' });
  assert.ok(Object.isFrozen(value));
});

test('an unknown setting is refused with the nearest known one', async () => {
  await assert.rejects(load('leaseSecond: 3\n'), (error: PilotageError) => {
    assert.equal(error.code, 'E_CONFIG_INVALID');
    assert.match(error.fix!, /"leaseSeconds"/);
    assert.match(error.where!, /server\.yaml$/);
    return true;
  });
});

test('a wrong value names setting and file', async () => {
  await assert.rejects(
    load('leaseSeconds: soon\n'),
    (error: PilotageError) => error.code === 'E_CONFIG_INVALID' && /leaseSeconds/.test(error.message),
  );
});

test('a file that is no YAML, is a list or is missing is refused with words', async () => {
  await assert.rejects(load('a: [1\n'), { code: 'E_CONFIG_UNREADABLE' });
  await assert.rejects(load('- 1\n'), { code: 'E_CONFIG_UNREADABLE' });
  await assert.rejects(loadConfig({ schema, file: '/nonexistent/x.yaml', envPrefix: 'P_', env: {} }), {
    code: 'E_CONFIG_UNREADABLE',
  });
});

test('config is data: code in it stays a string', async () => {
  const { value } = await load('listen: "${require(1)} import(2)"\n');
  assert.equal(value.listen, '${require(1)} import(2)');
});

test('a setting that is needed and missing is named with what it is; a misspelt one goes first', async () => {
  const needy = z.strictObject({
    instance: z.string().describe('Name of this instance.'),
    port: z.number().default(1),
  });
  await assert.rejects(loadConfig({ schema: needy, envPrefix: 'P_', env: {} }), (error: PilotageError) => {
    assert.match(error.message, /"instance" is needed/);
    assert.equal(error.expected, 'Name of this instance.');
    assert.match(error.fix!, /P_INSTANCE/);
    return true;
  });
  await assert.rejects(
    loadConfig({ schema: needy, envPrefix: 'P_', env: {}, flags: { instanec: 'x' } }),
    (error: PilotageError) =>
      /Unknown setting "instanec"/.test(error.message) && /"instance"/.test(error.fix!),
  );
});
