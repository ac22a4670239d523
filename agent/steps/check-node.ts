import { readFile, readdir, statfs, access, constants } from 'node:fs/promises';
import { availableParallelism, hostname, totalmem } from 'node:os';
import type { Resources } from '../../lib/protocol/job.ts';
import type { AgentConfig } from '../config/schema.ts';
import { readableBytes } from '../../lib/byte-size.ts';
import { agentError } from '../errors.ts';

export interface NodeFacts {
  node: string;
  cores: number;
  memoryBytes: number;
  diskBytes: number;
  kernel: string;
}

/**
 * Looks at the worker node before any server hears of it: cores (by affinity and cgroup), memory (the node's or its
 * cgroup's, whichever is less), free disk of the sandbox, a readable /proc, mkfifo and a shell.
 *
 * @throws E_NODE_UNFIT naming what is missing.
 */
export async function checkNode(sandbox: string, config: AgentConfig): Promise<NodeFacts> {
  const [freeBytes, memoryLimit, kernel] = await Promise.all([
    checkDisk(sandbox, config),
    cgroupMemoryLimit(),
    readFile('/proc/sys/kernel/osrelease', 'utf8').catch(() => 'unknown'),
  ]);
  await readdir(`/proc/${process.pid}/task`).catch(() => {
    throw unfit('/proc cannot be read, so no limit could be watched', '/proc');
  });
  await requireTools(['sh', 'mkfifo']);
  return {
    node: nodeName(),
    cores: config.cores ?? availableParallelism(),
    memoryBytes: config.memoryBytes ?? Math.min(totalmem(), memoryLimit),
    diskBytes: config.diskBytes ?? freeBytes,
    kernel: kernel.trim(),
  };
}

/**
 * Free bytes of the sandbox's disk. Looked at again before each job: a disk that others fill would fail one job after
 * the other, as fast as they come.
 *
 * @throws E_NODE_UNFIT when they are too few, or the sandbox is gone.
 */
export async function checkDisk(sandbox: string, config: AgentConfig): Promise<number> {
  const disk = await statfs(sandbox).catch((error: Error) => {
    throw unfit(`The sandbox cannot be used: ${error.message}`, sandbox);
  });
  const freeBytes = disk.bavail * disk.bsize;
  if (freeBytes >= config.minDiskBytes) return freeBytes;
  throw unfit('There is too little disk in the sandbox', sandbox, {
    expected: readableBytes(config.minDiskBytes),
    found: readableBytes(freeBytes),
  });
}

/** What is offered to jobs now. */
export const offer = (facts: NodeFacts, wallSecondsLeft: number): Resources => ({
  cores: facts.cores,
  memoryBytes: facts.memoryBytes,
  diskBytes: facts.diskBytes,
  wallSecondsLeft: Math.max(0, Math.floor(wallSecondsLeft)),
});

const nodeName = (): string => hostname().slice(0, 255) || 'unknown';

async function requireTools(names: readonly string[]): Promise<void> {
  const directories = [
    '/bin',
    '/usr/bin',
    ...(process.env.PATH ?? '').split(':').filter(part => part !== ''),
  ];
  for (const name of names) {
    const found = await Promise.any(directories.map(path => access(`${path}/${name}`, constants.X_OK))).then(
      () => true,
      () => false,
    );
    if (!found) throw unfit(`The node has no ${name}`, directories.join(':'));
  }
}

/** The least memory limit of this process's cgroup and those above it (cgroup v2, then v1); Infinity without one. */
async function cgroupMemoryLimit(): Promise<number> {
  const lines = (await readFile('/proc/self/cgroup', 'utf8').catch(() => '')).split('\n');
  let least = Number.POSITIVE_INFINITY;
  for (const line of lines) {
    const [, controllers = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const unified = controllers === '';
    if (path === '' || (!unified && !controllers.split(',').includes('memory'))) continue;
    const root = unified ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory';
    const file = unified ? 'memory.max' : 'memory.limit_in_bytes';
    const parts = path.split('/').filter(part => part !== '' && part !== '..');
    for (let depth = parts.length; depth >= 0; depth -= 1) {
      const text = await readFile([root, ...parts.slice(0, depth), file].join('/'), 'utf8').catch(
        () => 'max',
      );
      const limit = Number(text.trim());
      if (Number.isFinite(limit) && limit > 0) least = Math.min(least, limit);
    }
  }
  return least;
}

const unfit = (message: string, where: string, more: { expected?: string; found?: string } = {}) =>
  agentError({ code: 'E_NODE_UNFIT', message: `${message}.`, where, fix: 'Tell the site.', ...more });
