import assert from 'node:assert/strict';
import { availableParallelism, totalmem } from 'node:os';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { AgentConfig } from '../../../agent/config/schema.ts';
import { agentFlags, flagValue } from '../../../agent/flags.ts';
import { checkDisk, checkNode, offer } from '../../../agent/steps/check-node.ts';
import { JobDefinition } from '../../../lib/protocol/job.ts';

test('a node is what /proc and its file system say, unless the configuration says less', async () => {
  const facts = await checkNode(tmpdir(), AgentConfig.parse({}));
  assert.equal(facts.cores, availableParallelism());
  assert.ok(facts.memoryBytes > 2 ** 20 && facts.memoryBytes <= totalmem());
  assert.ok(facts.diskBytes > 0);
  const less = await checkNode(tmpdir(), AgentConfig.parse({ cores: 1, memoryBytes: 5, diskBytes: 6 }));
  assert.deepEqual(offer(less, 12.7), { cores: 1, memoryBytes: 5, diskBytes: 6, wallSecondsLeft: 12 });
  assert.equal(offer(less, -3).wallSecondsLeft, 0);
});

test('too little disk makes a node unfit, with both numbers', async () => {
  await assert.rejects(checkNode(tmpdir(), AgentConfig.parse({ minDiskBytes: 2 ** 50 })), {
    code: 'E_NODE_UNFIT',
    where: tmpdir(),
    expected: '1024 TiB',
  });
});

test('every setting has a description and a flag; text becomes what it means', () => {
  assert.deepEqual(
    agentFlags.map(({ key }) => key),
    Object.keys(AgentConfig.shape),
  );
  for (const { key, flag, description } of agentFlags) {
    assert.ok(description.length > 10, key);
    assert.match(flag, /^[a-z-]+$/);
  }
  assert.equal(flagValue('idleSeconds', '5'), 5);
  assert.equal(flagValue('path', '/bin'), '/bin');
  assert.deepEqual(flagValue('labels', 'user,test'), ['user', 'test']);
});

test('the defaults of a job fit into what the pilot runs by default', () => {
  const { limits } = JobDefinition.parse({ vo: 'v', queue: 'q', command: ['true'] });
  assert.ok(limits.wallSeconds < AgentConfig.parse({}).lifetimeSeconds);
});

test('the disk is looked at again, and a sandbox that is gone is no place for a job', async () => {
  const config = AgentConfig.parse({});
  assert.ok((await checkDisk(tmpdir(), config)) > 0);
  await assert.rejects(checkDisk(tmpdir(), { ...config, minDiskBytes: 2 ** 60 }), { code: 'E_NODE_UNFIT' });
  await assert.rejects(checkDisk('/nowhere/at/all', config), {
    code: 'E_NODE_UNFIT',
    where: '/nowhere/at/all',
  });
});
