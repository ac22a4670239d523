import { open, rm } from 'node:fs/promises';
import { Bootstrap, VerifiedRelease } from '../lib/protocol/release.ts';
import { readTextBounded } from '../lib/files.ts';
import { agentError } from './errors.ts';

/**
 * Reads `bootstrap.json`.
 *
 * @throws E_BOOTSTRAP_INVALID naming the file and the field; never showing the secret.
 */
export async function readBootstrap(path: string): Promise<Bootstrap> {
  return parse(Bootstrap, await readJson(path), path);
}

/** Reads `verified.json`, what the wrapper verified. @throws E_BOOTSTRAP_INVALID naming the file and the field. */
export async function readVerified(path: string): Promise<VerifiedRelease> {
  return parse(VerifiedRelease, await readJson(path), path);
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readTextBounded(path));
  } catch (error) {
    const syntax = error instanceof SyntaxError;
    throw agentError({
      code: 'E_BOOTSTRAP_INVALID',
      // A syntax error's own words quote the file, and so the secret.
      message: syntax ? 'The file is not JSON.' : `The file cannot be read: ${(error as Error).message}`,
      where: path,
      fix: 'Run the pilot through its wrapper, in the sandbox that the autopilot made.',
      ...(!syntax && { cause: error }),
    });
  }
}

interface Schema<T> {
  safeParse(
    value: unknown,
  ):
    | { success: true; data: T }
    | { success: false; error: { issues: { path: PropertyKey[]; message: string }[] } };
}

function parse<T>(schema: Schema<T>, value: unknown, path: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw agentError({
    code: 'E_BOOTSTRAP_INVALID',
    message: `The field "${issue.path.join('.')}" is not valid: ${issue.message}`,
    where: path,
    fix: 'Was it written by an autopilot of another version?',
  });
}

/** Removes the file with the one-time secret, its bytes overwritten first. */
export async function forgetBootstrap(path: string): Promise<void> {
  const file = await open(path, 'r+').catch(() => undefined);
  if (file) {
    try {
      const { size } = await file.stat();
      await file.write(Buffer.alloc(size, 0x20), 0, size, 0);
      await file.datasync();
    } finally {
      await file.close();
    }
  }
  await rm(path, { force: true });
}
