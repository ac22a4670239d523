import { access, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureDirectory, writeFileAtomic } from '../../../lib/files.ts';
import type { Logger } from '../../../lib/log.ts';
import { removeTree } from '../../../lib/remove-tree.ts';
import type { Engine, EngineJob, EngineSnapshot, PilotRef } from '../engine.ts';
import { claimBatch, readBatch } from './batch-marker.ts';
import { askToEnd, endByForce } from './end-session.ts';
import { bootId } from './process-identity.ts';
import { openPlainFile } from './open-plain-file.ts';
import { readOutput } from './read-output.ts';
import { claimFile, listNames, neverStart, readSandbox } from './sandbox.ts';
import type { SandboxState } from './sandbox.ts';
import { createSlots } from './slots.ts';
import { starterScript } from './starter.ts';

/** Places after which a crash leaves a submission to this engine half done. */
export const localCheckpoints = ['batch-claimed', 'starter-spawned'] as const;
export type LocalCheckpoint = (typeof localCheckpoints)[number];

export interface LocalEngineOptions {
  /** Directory of the batches; what is in it is all the engine knows, so it outlives every autopilot. */
  spool: string;
  /** Pilots that run at the same time; more wait. */
  maxRunning: number;
  /** Kept of each output from its beginning; its last 16 KiB are kept besides. */
  maxOutputBytes: number;
  /** Whole environment of the pilots; nothing of the autopilot's own is inherited. */
  environment: Readonly<Record<string, string>>;
  log: Logger;
  /** Called between the steps of a submission; for tests that end the process there. */
  checkpoint?: (name: LocalCheckpoint) => Promise<void> | void;
}

const keyOf = (pilot: PilotRef): string => `${pilot.batchId}/${pilot.submissionId}`;

/**
 * A small batch system on this machine. A batch exists when its marker does, which appears in one atomic step: submitting
 * again, or crashing in between, is the same submission. Each pilot is a session of detached processes that first takes
 * its sandbox by name, so that it starts once whoever asks; liveness is judged by pid and start time.
 */
export async function openLocalEngine(options: LocalEngineOptions): Promise<Engine> {
  const { spool, log } = options;
  const checkpoint = options.checkpoint ?? (() => undefined);
  const thisBootId = bootId();
  const starter = join(spool, 'starter.sh');
  const outputBlocks = Math.ceil(options.maxOutputBytes / 512);
  const endedJobs = new Map<string, EngineJob>();
  await ensureDirectory(spool, 0o700);
  await writeFileAtomic(starter, starterScript, { mode: 0o700 });
  const slots = createSlots({
    maxRunning: options.maxRunning,
    starter,
    outputBlocks,
    environment: options.environment,
    log,
    onFreed: () => void serve().catch(error => log.error({ err: error }, 'local queue cannot be served')),
  });
  let serving: Promise<void> | undefined;

  const sandboxOf = (pilot: PilotRef): string => join(spool, pilot.batchId, pilot.submissionId);

  async function look(pilot: PilotRef): Promise<EngineJob> {
    const known = endedJobs.get(keyOf(pilot));
    if (known !== undefined) return known;
    const directory = sandboxOf(pilot);
    const seen = await readSandbox(directory, thisBootId);
    const cancelled = await exists(join(directory, 'cancel'));
    const job: EngineJob = { ...pilot, nativeId: keyOf(pilot), cancelled, ...describe(seen) };
    if (job.state === 'ended') endedJobs.set(keyOf(pilot), job);
    return job;
  }

  async function readAll(): Promise<EngineSnapshot> {
    const jobs: EngineJob[] = [];
    const problems: string[] = [];
    const batchIds = await listNames(spool).catch((error: unknown) => {
      problems.push(`${spool}: ${(error as Error).message}`);
      return [];
    });
    for (const batchId of batchIds) {
      if (batchId === 'starter.sh' || batchId.startsWith('.')) continue;
      try {
        const marker = await readBatch(spool, batchId);
        if (marker?.verdict !== 'submitted') continue;
        const present = new Set(await listNames(join(spool, batchId)));
        for (const submissionId of marker.submissionIds.filter(id => present.has(id))) {
          const job = await look({ batchId, submissionId });
          if (job.state === 'queued' && marker.bootId !== thisBootId) {
            await neverStart(sandboxOf(job), 'the machine was restarted while it was queued');
            jobs.push(await look(job));
          } else jobs.push(job);
        }
      } catch (error) {
        problems.push(`${batchId}: ${(error as Error).message}`);
      }
    }
    return { complete: problems.length === 0, jobs, problems };
  }

  /** Fills the free slots, oldest first; one run at a time, and one more when asked meanwhile. */
  async function serve(): Promise<void> {
    serving = (serving ?? Promise.resolve()).catch(() => undefined).then(fill);
    await serving;
  }

  async function fill(): Promise<void> {
    if (slots.closed) return;
    const { jobs } = await readAll();
    const running = new Set(jobs.filter(job => job.state === 'running').map(keyOf));
    for (const job of jobs.filter(job => job.state === 'queued')) {
      if (slots.closed || slots.isFull(running)) return;
      const started = slots.start(keyOf(job), sandboxOf(job));
      if (started === 'gave up') await neverStart(sandboxOf(job), 'its starter failed three times');
      if (started === 'started') await checkpoint('starter-spawned');
    }
  }

  return {
    name: 'local',
    capabilities: { atomicBatch: true, provesAbsence: true },

    async submit(batch) {
      const missing: string[] = [];
      for (const submissionId of batch.submissionIds) {
        const wrapper = join(sandboxOf({ batchId: batch.batchId, submissionId }), 'wrapper.sh');
        if (!(await exists(wrapper))) missing.push(wrapper);
      }
      if (missing.length > 0) return { outcome: 'rejected', reason: `there is no ${missing[0]}` };
      await claimBatch(spool, batch.batchId, {
        verdict: 'submitted',
        submissionIds: [...batch.submissionIds],
        bootId: thisBootId,
      });
      await checkpoint('batch-claimed');
      const marker = await readBatch(spool, batch.batchId);
      if (marker === null) return { outcome: 'unknown', reason: 'the record of the batch is gone' };
      if (marker.verdict === 'refused') {
        return { outcome: 'rejected', reason: 'the batch was given up before it was submitted' };
      }
      await serve();
      return { outcome: 'submitted', nativeIds: nativeIds(batch.batchId, marker.submissionIds) };
    },

    async snapshot() {
      await serve();
      return readAll();
    },

    async findByBatch(batchId) {
      await ensureDirectory(join(spool, batchId), 0o700);
      await claimBatch(spool, batchId, { verdict: 'refused', submissionIds: [], bootId: thisBootId });
      const marker = await readBatch(spool, batchId);
      if (marker === null) return { found: 'unknown', reason: 'the record of the batch is gone' };
      return marker.verdict === 'submitted'
        ? { found: 'present', nativeIds: nativeIds(batchId, marker.submissionIds) }
        : { found: 'absent', proof: 'the batch had no record, and is now refused for ever' };
    },

    async cancel(pilots, how) {
      for (const pilot of pilots) {
        const directory = sandboxOf(pilot);
        if (!(await exists(directory))) continue;
        if ((await look(pilot)).state === 'ended') continue;
        await claimFile(join(directory, 'cancel'), `${how}\n`);
        await neverStart(directory, 'cancelled');
        const seen = await readSandbox(directory, thisBootId);
        if (seen.state !== 'running') continue;
        if (how === 'term') askToEnd(seen.identity);
        else {
          // In the sandbox, not in memory: the next to ask may be another run of the autopilot.
          const isFirst = await claimFile(join(directory, 'forced'), '');
          endByForce(seen.identity, isFirst ? await readPid(join(directory, 'wrapper.pid')) : null);
        }
      }
    },

    fetchLog: (pilot, stream, maxBytes) =>
      readOutput(sandboxOf(pilot), stream, { keptBytes: outputBlocks * 512, maxBytes }),

    async forget(pilot) {
      const job = await look(pilot);
      if (job.state !== 'ended') return;
      await removeTree(sandboxOf(pilot));
      endedJobs.delete(keyOf(pilot));
      const left = (await listNames(join(spool, pilot.batchId))).filter(name => name !== 'batch.json');
      if (left.length === 0) await rm(join(spool, pilot.batchId), { recursive: true, force: true });
    },

    async close() {
      slots.close();
      await serving?.catch(() => undefined);
    },
  };
}

const nativeIds = (batchId: string, submissionIds: readonly string[]): Record<string, string> =>
  Object.fromEntries(submissionIds.map(submissionId => [submissionId, keyOf({ batchId, submissionId })]));

function describe(
  seen: SandboxState,
): Pick<EngineJob, 'state' | 'exitCode' | 'startedMs' | 'endedMs' | 'note'> {
  if (seen.state === 'queued') {
    return { state: 'queued', exitCode: null, startedMs: null, endedMs: null, note: 'waits for a slot' };
  }
  if (seen.state === 'running') {
    const note = `process ${seen.identity.pid}`;
    return { state: 'running', exitCode: null, startedMs: seen.startedMs, endedMs: null, note };
  }
  const { exitCode, startedMs, endedMs, note } = seen;
  return { state: 'ended', exitCode, startedMs, endedMs, note };
}

async function readPid(path: string): Promise<number | null> {
  const file = await openPlainFile(path);
  if (file === null || file === 'odd') return null;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(32), 0, 32, 0);
    const pid = Number(buffer.toString('latin1', 0, bytesRead));
    return Number.isSafeInteger(pid) && pid > 1 ? pid : null;
  } finally {
    await file.close();
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
