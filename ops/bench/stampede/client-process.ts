import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { getOnce } from './client.ts';
import { Crowd, mannerOf } from './crowd.ts';
import type { CrowdResult } from './crowd.ts';

// A share of the clients of the stampede; prints one CrowdResult.
const crowd = Crowd.parse(JSON.parse(process.argv[2]!));
const body = await readFile(crowd.bodyFile);
const seconds: number[] = [];
const result = { complete: 0, slow: 0, left: 0, failed: 0, bytes: 0, failures: [] as string[] };

async function run(client: number): Promise<void> {
  await sleep(crowd.startAtMs - Date.now() + (client / crowd.allClients) * crowd.spreadMs);
  const manner = mannerOf(client);
  const cache = crowd.caches[client % crowd.caches.length]!;
  const started = performance.now();
  try {
    const bytes = await getOnce({
      ...cache,
      localAddress: crowd.localAddress,
      path: crowd.path,
      body,
      manner,
      leaveAtByte: Math.ceil(body.length * (0.1 + 0.8 * Math.random())),
      deadlineMs: crowd.deadlineMs,
    });
    result.bytes += bytes;
    if (manner === 'leaves') result.left += 1;
    else {
      result.complete += 1;
      if (manner === 'slow') result.slow += 1;
      seconds.push((performance.now() - started) / 1000);
    }
  } catch (error) {
    result.failed += 1;
    if (result.failures.length < 10)
      result.failures.push(
        `client ${client} (${manner}) of ${cache.host}:${cache.port}: ${(error as Error).message}`,
      );
  }
}

await Promise.all(Array.from({ length: crowd.clients }, (_, index) => run(crowd.first + index)));
const sorted = seconds.toSorted((a, b) => a - b);
const done: CrowdResult = {
  ...result,
  secondsMedian: sorted[sorted.length >> 1] ?? 0,
  secondsLast: sorted.at(-1) ?? 0,
};
process.stdout.write(`${JSON.stringify(done)}\n`);
