import { createHmac, timingSafeEqual } from 'node:crypto';
import { sha256Hex } from './canonical-sha256.ts';

/**
 * The one-time secret of a submission. It is never stored: any server of the instance makes it again from the shared key,
 * and another incarnation of the database makes another.
 */
export const submissionSecret = (secretKey: Buffer, submissionId: string, incarnation: string): string =>
  createHmac('sha256', secretKey).update(`submission\n${submissionId}\n${incarnation}`).digest('base64url');

/** Compares a secret with the stored hash, in a time that says nothing about it. */
export const isSecret = (secret: string, secretSha256: string): boolean =>
  timingSafeEqual(Buffer.from(sha256Hex(secret), 'hex'), Buffer.from(secretSha256, 'hex'));
