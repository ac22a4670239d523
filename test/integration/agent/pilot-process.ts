import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { extract } from 'tar';
import { readProcess } from '../../../agent/process-table.ts';
import type { AgentSummary } from '../../../agent/run-agent.ts';
import type { Bootstrap, VerifiedRelease } from '../../../lib/protocol/release.ts';
import { buildPilot } from '../../../ops/build/build-pilot.ts';

const root = new URL('../../../', import.meta.url).pathname;

export const verified = {
  release: {
    name: 'pilot',
    version: '0.1.0',
    sha256: 'a'.repeat(64),
    channel: 'dev',
    channelSerial: 3,
    metadata: { root: 1, timestamp: 7, snapshot: 5 },
  },
  cache: 'local',
  bootstrapMs: 12,
};

/** Builds the pilot as it ships and unpacks it below `directory`. */
export async function pilotBundle(directory: string): Promise<string> {
  const { file } = await buildPilot({ root, out: directory, commit: 'test' });
  const unpacked = join(directory, 'unpacked');
  await mkdir(unpacked);
  await extract({ file, cwd: unpacked });
  return join(unpacked, 'pilot.mjs');
}

/** A pilot as the wrapper starts it: a process of its own, in a sandbox of its own. */
export class PilotProcess {
  readonly sandbox: string;
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';
  readonly ended: Promise<number | null>;

  private constructor(sandbox: string, child: ChildProcess) {
    this.sandbox = sandbox;
    this.child = child;
    child.stdout!.on('data', (data: Buffer) => (this.stdout += data.toString()));
    child.stderr!.on('data', (data: Buffer) => (this.stderr += data.toString()));
    this.ended = new Promise(resolve => child.once('close', code => resolve(code)));
  }

  /** @param options.entry the built bundle; else the sources. */
  static async start(
    bootstrap: Bootstrap | string,
    options: {
      entry?: string;
      flags?: string[];
      env?: NodeJS.ProcessEnv;
      /** As the wrapper leaves it: without it the pilot was started by hand. */
      rootJson?: Uint8Array;
      verified?: VerifiedRelease;
    } = {},
  ): Promise<PilotProcess> {
    const sandbox = await mkdtemp(join(tmpdir(), 'pilotage-agent-'));
    const text = typeof bootstrap === 'string' ? bootstrap : JSON.stringify(bootstrap);
    await writeFile(join(sandbox, 'bootstrap.json'), text, { mode: 0o600 });
    await writeFile(join(sandbox, 'verified.json'), JSON.stringify(options.verified ?? verified));
    if (options.rootJson) await writeFile(join(sandbox, 'root.json'), options.rootJson, { mode: 0o600 });
    const child = spawn(
      process.execPath,
      [
        options.entry ?? join(root, 'agent/main.ts'),
        'run',
        '--bootstrap',
        'bootstrap.json',
        '--verified',
        'verified.json',
        ...(options.flags ?? []),
      ],
      {
        cwd: sandbox,
        env: { PATH: process.env.PATH, PILOT_ONLY: 'not-for-payloads', ...options.env },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    return new PilotProcess(sandbox, child);
  }

  get summary(): AgentSummary {
    const line = /^PILOTAGE-AGENT (.*)$/m.exec(this.stdout)?.[1];
    if (line === undefined) throw new Error(`no summary line in ${this.stdout}\n${this.stderr}`);
    return JSON.parse(line) as AgentSummary;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
    await this.ended;
    await rm(this.sandbox, { recursive: true, force: true });
  }
}

/** Whether a process is there and not a zombie. */
export function isAlive(pid: number): boolean {
  const row = readProcess(pid);
  return row !== undefined && row.state !== 'Z';
}
