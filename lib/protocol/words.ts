import * as z from 'zod';

/** The words that every shape of the contract is made of, each bounded. */

export const word = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'letters, digits, dot, underscore, hyphen; at most 64');
export const id = z.string().regex(/^[0-9A-HJKMNP-TV-Z]{26}$/, 'a ULID of 26 characters');
export const sha256 = z.string().regex(/^[0-9a-f]{64}$/, '64 lower-case hex digits');
export const text = (max: number) => z.string().max(max);
export const count = z.int().min(0);
export const seconds = z.number().min(0).max(31_622_400);
export const bytes = z.int().min(0);
export const pem = z.string().max(65_536);
export const cursor = z.string().max(200);

/** A file name inside the job's work directory: relative, no `..`, no absolute path, no control characters. */
export const fileName = z
  .string()
  .min(1)
  .max(255)
  .refine(
    name =>
      !/^\/|\\|[\0-\x1f]/.test(name) &&
      name.split('/').every(part => part !== '' && part !== '.' && part !== '..'),
    'a relative path without "..", empty parts or control characters',
  );

export const stageUrl = z
  .string()
  .max(4096)
  .regex(/^(file|https?):\/\//, 'a file:, http: or https: URL');
