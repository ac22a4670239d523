import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BoundedLog } from '../../../agent/bounded-log.ts';
import { payloadEnvironment } from '../../../agent/payload-command.ts';
import { readProcess } from '../../../agent/process-table.ts';
import { runPayload } from '../../../agent/steps/run-payload.ts';
import type { PayloadOptions, PayloadResult } from '../../../agent/steps/run-payload.ts';
import { systemClock } from '../../../lib/clock.ts';
import { newId } from '../../../lib/ids.ts';
import { silentLog } from '../../../lib/log.ts';
import { JobDefinition } from '../../../lib/protocol/job.ts';
import type { JobDefinitionInput } from '../../../lib/protocol/job.ts';

/** Directories and logs of one payload, without any pilot around it. */
export class PayloadFixture {
  readonly root: string;
  readonly work: string;
  readonly groupFile: string;
  readonly attemptId = newId();
  stdout!: BoundedLog;
  stderr!: BoundedLog;

  private constructor(root: string) {
    this.root = root;
    this.work = join(root, 'work');
    this.groupFile = join(root, 'payload.pgid');
  }

  static async create(): Promise<PayloadFixture> {
    const fixture = new PayloadFixture(await mkdtemp(join(tmpdir(), 'pilotage-payload-')));
    for (const name of ['work', 'tmp', 'pilot']) await mkdir(join(fixture.root, name), { mode: 0o700 });
    return fixture;
  }

  async run(
    job: Partial<JobDefinitionInput> & { command: string[] },
    options: Partial<PayloadOptions> = {},
  ): Promise<PayloadResult> {
    const definition = JobDefinition.parse({ vo: 'test', queue: 'Q', ...job });
    const { logBytes } = definition.limits;
    this.stdout = await BoundedLog.create(join(this.root, 'pilot/stdout.log'), logBytes);
    this.stderr = await BoundedLog.create(join(this.root, 'pilot/stderr.log'), logBytes);
    const path = '/usr/local/bin:/usr/bin:/bin';
    return runPayload({
      attemptId: this.attemptId,
      definition,
      environment: payloadEnvironment(
        {
          jobId: newId(),
          attemptId: this.attemptId,
          attemptNumber: 1,
          instance: 'test',
          cores: 1,
          workDirectory: this.work,
          temporaryDirectory: join(this.root, 'tmp'),
          path,
          credentialFile: undefined,
          servers: ['https://127.0.0.1:1'],
          serverCaFile: '/nonexistent',
          trust: {},
        },
        definition.environment,
      ),
      workDirectory: this.work,
      directories: [this.work, join(this.root, 'tmp')],
      privateDirectory: join(this.root, 'pilot'),
      groupFile: this.groupFile,
      path,
      stdout: this.stdout,
      stderr: this.stderr,
      sampleMs: 50,
      killGraceSeconds: 0.3,
      stop: new AbortController().signal,
      hurry: new AbortController().signal,
      clock: systemClock,
      log: silentLog,
      ...options,
    });
  }

  async output(stream: 'stdout' | 'stderr' = 'stdout'): Promise<string> {
    const parts: Buffer[] = [];
    for await (const part of this[stream].kept()) parts.push(part);
    return Buffer.concat(parts).toString('utf8');
  }

  /** Waits for a pid that the payload writes into a file of its work directory. */
  async pidIn(name: string): Promise<number> {
    const deadline = Date.now() + 10_000;
    for (;;) {
      const text = await readFile(join(this.work, name), 'utf8').catch(() => '');
      if (/^\d+\n/.test(text)) return Number(text);
      if (Date.now() > deadline) throw new Error(`no pid in ${name}`);
      await new Promise(resolve => setTimeout(resolve, 10));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stdout?.close();
    await this.stderr?.close();
    await rm(this.root, { recursive: true, force: true });
  }
}

export function isAlive(pid: number): boolean {
  const row = readProcess(pid);
  return row !== undefined && row.state !== 'Z';
}
