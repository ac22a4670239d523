import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WorkerOptions } from '../../../../../codecache/proxy/workers/calls.ts';
import { WorkerPool } from '../../../../../codecache/proxy/workers/worker-pool.ts';
import type { WorkerProcess } from '../../../../../codecache/proxy/workers/worker-process.ts';
import { systemClock } from '../../../../../lib/clock.ts';
import { silentLog } from '../../../../../lib/log.ts';
import { waitUntil } from '../../../../lab/wait-until.ts';

/** A worker that is started at once and ends when it is told to. */
class FakeWorker {
  readonly pid = 1;
  readonly startedMs = performance.now();
  readonly #ended = Promise.withResolvers<{ code: number | null; signal: null }>();
  readonly ended = this.#ended.promise;
  leaving = false;
  outOfService: boolean | undefined;
  readonly calls = {
    tell: (_call: string, out: boolean) => {
      this.outOfService = out;
    },
  };
  started = async (): Promise<void> => undefined;

  async start({ outOfService }: WorkerOptions): Promise<void> {
    this.outOfService = outOfService;
    await this.started();
  }

  async end(): Promise<void> {
    this.leaving = true;
    this.dies();
  }

  async kill(): Promise<void> {
    await this.end();
  }

  dies(): void {
    this.#ended.resolve({ code: 1, signal: null });
  }
}

const plan = (count: number) => ({ count, options: {} as WorkerOptions, drainSeconds: 0 });

function poolOf(fork: (count: number) => FakeWorker) {
  const workers: FakeWorker[] = [];
  const pool = new WorkerPool({
    fork: () => {
      const worker = fork(workers.length);
      workers.push(worker);
      return worker as unknown as WorkerProcess;
    },
    log: silentLog,
    clock: { ...systemClock, sleep: async () => undefined },
  });
  return { pool, workers };
}

test('a cache that is out of service stays so when a worker is replaced, and when it restarts', async () => {
  const { pool, workers } = poolOf(() => new FakeWorker());
  await pool.run(plan(1));
  pool.outOfService(true);
  workers[0]!.dies();
  await waitUntil('it is replaced', () => workers.length === 2 && pool.workers.length === 1);
  assert.deepEqual(
    workers.map(({ outOfService }) => outOfService),
    [true, true],
  );
  await pool.run(plan(1));
  assert.equal(workers[2]!.outOfService, true);
  pool.outOfService(false);
  assert.equal(workers[2]!.outOfService, false);
  await pool.end();
});

test('taken out of service while it restarts, a cache is out of service after it', async () => {
  const ready = Promise.withResolvers<void>();
  const { pool, workers } = poolOf(count =>
    Object.assign(new FakeWorker(), count === 1 && { started: () => ready.promise }),
  );
  await pool.run(plan(1));
  const restarted = pool.run(plan(1));
  pool.outOfService(true);
  ready.resolve();
  await restarted;
  assert.equal(workers[1]!.outOfService, true);
  await pool.end();
});

test('a system that starts no more processes is asked again, and a restart then leaves nothing behind', async () => {
  let refused = 0;
  const { pool, workers } = poolOf(count => {
    if (count === 1 && ++refused <= 2) throw Object.assign(new Error('spawn ENOMEM'), { code: 'ENOMEM' });
    return new FakeWorker();
  });
  await pool.run(plan(1));
  workers[0]!.dies();
  await waitUntil('it is replaced', () => workers.length === 2 && pool.workers.length === 1);
  assert.equal(refused, 3);

  const { pool: other, workers: started } = poolOf(count => {
    if (count === 1) throw new Error('spawn ENOMEM');
    return new FakeWorker();
  });
  await assert.rejects(other.run(plan(2)), /ENOMEM/);
  assert.deepEqual(
    started.map(({ leaving }) => leaving),
    [true],
  );
  await pool.end();
});
