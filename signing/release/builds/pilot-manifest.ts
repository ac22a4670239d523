import * as z from 'zod';
import { signingError } from '../../errors.ts';
import { invalidTarball } from './inspect-tarball.ts';

const plain = z.string().regex(/^[ !#-[\]-~]{0,200}$/, 'plain ASCII without quotes, at most 200 characters');
/** Starts with a digit, so that no version can be taken for a channel; no `..` in the paths made of it. */
export const releaseVersion = z
  .string()
  .regex(
    /^(?!.*\.(\.|$))[0-9][A-Za-z0-9._-]{0,63}$/,
    'a version: a digit, then letters, digits, dot (one at a time, not last), underscore, hyphen',
  );
export const architecture = z.string().regex(/^linux-[a-z0-9]{2,16}$/, 'an architecture such as linux-x64');

/** `manifest.json` inside a pilot tarball; other fields are ignored. */
export const PilotManifest = z.object({
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
  version: releaseVersion,
  commit: plain.default('unknown'),
  builtAt: z.union([plain, z.int().min(0)]).default('unknown'),
  requires: z.record(z.string().regex(/^[A-Za-z0-9._-]{1,64}$/), plain).default({}),
});
export type PilotManifest = z.output<typeof PilotManifest>;

/** @param where the tarball, for errors. @throws E_TARBALL_INVALID. */
export function parseManifest(bytes: Buffer | undefined, where: string): PilotManifest {
  let value: unknown;
  try {
    value = JSON.parse((bytes ?? Buffer.alloc(0)).toString('utf8'));
  } catch {
    throw invalidTarball(where, 'Its manifest.json is not JSON.');
  }
  const parsed = PilotManifest.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw invalidTarball(where, `Its manifest.json is not valid: ${issue.path.join('.')}: ${issue.message}.`);
}

/** @param what `version` or `architecture`. @throws E_VERSION_INVALID. */
export function checked(schema: z.ZodType<string>, value: string, what: string): string {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw signingError({
    code: 'E_VERSION_INVALID',
    message: `This is not a valid ${what}.`,
    where: what,
    expected: parsed.error.issues[0]!.message,
    found: value.slice(0, 100),
    fix: 'Correct the value.',
  });
}
