import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { parseStat, peakBytes, processorSeconds, treeOf } from '../../../../ops/bench/process-tree.ts';

const line = (pid: number, name: string, parent: number, times: string) =>
  `${pid} (${name}) S ${parent} 1 1 0 -1 4194304 500 0 0 0 ${times} 20 0 1 0 100 1000 10`;

test('A process is read whatever its name holds', () => {
  for (const name of ['squid', 'a) R 1 (b', 'two words', ')'])
    assert.deepEqual(parseStat(line(42, name, 7, '1 20 300 4000')), { pid: 42, parent: 7, ticks: 4321 });
});

test('A tree is the process, its children and theirs, and nobody else', () => {
  const processes = [
    [1, 0],
    [10, 1],
    [11, 10],
    [12, 11],
    [20, 1],
  ].map(([pid, parent]) => parseStat(line(pid!, 'any', parent!, '1 1 0 0')));
  const pids = (root: number) => treeOf(processes, root).map(({ pid }) => pid);
  assert.deepEqual(pids(10), [10, 11, 12]);
  assert.deepEqual(pids(12), [12]);
  assert.throws(() => pids(13), /process 13 is gone/);
});

test('The most memory that was in use is told in bytes', async () => {
  const filled = Buffer.alloc(150_000_000, 1);
  const [peak] = await peakBytes(process.pid);
  assert.ok(peak! > filled.length && peak! < 2e9, `${peak} bytes`);
});

test('What a child used counts after it has ended', async () => {
  const before = await processorSeconds(process.pid);
  const burn = 'const end = process.cpuUsage().user + 3e5; while (process.cpuUsage().user < end);';
  await promisify(execFile)(process.execPath, ['-e', burn]);
  const used = (await processorSeconds(process.pid)) - before;
  assert.ok(used >= 0.29, `${used} s of at least 0.3`);
});
