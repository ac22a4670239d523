import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const registration = fileURLToPath(new URL('../../signing/release/cli/register.ts', import.meta.url));

/** How a command ended. */
export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/**
 * Gives a way to run `pilotage release …` in a process of its own: only those commands, since the whole program takes
 * several times as long to load.
 *
 * @param directory where the small program is put; also the HOME of the commands.
 */
export async function releaseCommand(
  directory: string,
): Promise<(args: readonly string[], env?: Record<string, string>, input?: string) => Promise<Ended>> {
  const program = join(directory, 'release-only.ts');
  await writeFile(
    program,
    `import { Command } from ${JSON.stringify(import.meta.resolve('commander'))};
     import { registerRelease } from ${JSON.stringify(registration)};
     const program = new Command('pilotage').option('--json');
     registerRelease(program);
     await program.parseAsync();`,
  );
  return (args, env = {}, input) =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [program, 'release', ...args], {
        env: { PATH: process.env.PATH ?? '', HOME: directory, ...env },
        stdio: ['pipe', 'pipe', 'pipe'],
        timeout: 60_000,
      });
      const ended: Ended = { code: null, stdout: '', stderr: '' };
      child.stdout.on('data', (chunk: Buffer) => (ended.stdout += chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => (ended.stderr += chunk.toString()));
      child.stdin.end(input);
      child.on('error', reject);
      child.on('close', code => resolve({ ...ended, code }));
    });
}
