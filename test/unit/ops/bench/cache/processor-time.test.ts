import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { parseStat, processorSeconds, treeSeconds } from '../../../../../ops/bench/cache/processor-time.ts';

const line = (pid: number, name: string, parent: number, times: string) =>
  `${pid} (${name}) S ${parent} 1 1 0 -1 4194304 500 0 0 0 ${times} 20 0 1 0 100 1000 10`;

test('A process is read whatever its name holds', () => {
  for (const name of ['squid', 'a) R 1 (b', 'two words', ')'])
    assert.deepEqual(parseStat(line(42, name, 7, '1 20 300 4000')), { pid: 42, parent: 7, ticks: 4321 });
});

test('A tree is the process, its children and theirs, and nobody else', () => {
  const processes = [
    line(1, 'init', 0, '900 900 900 900'),
    line(10, 'master', 1, '100 0 50 0'),
    line(11, 'worker', 10, '0 200 0 0'),
    line(12, 'of worker', 11, '25 25 0 0'),
    line(20, 'another', 1, '700 0 0 0'),
  ].map(parseStat);
  assert.equal(treeSeconds(processes, 10), 4);
  assert.equal(treeSeconds(processes, 12), 0.5);
  assert.throws(() => treeSeconds(processes, 13), /process 13 is gone/);
});

test('What a child used counts after it has ended', async () => {
  const before = await processorSeconds(process.pid);
  const burn = 'const end = process.cpuUsage().user + 3e5; while (process.cpuUsage().user < end);';
  await promisify(execFile)(process.execPath, ['-e', burn]);
  const used = (await processorSeconds(process.pid)) - before;
  assert.ok(used >= 0.29, `${used} s of at least 0.3`);
});
