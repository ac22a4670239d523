import type { Migration } from '../../lib/database/migration.ts';
import { firstSchema } from './0001-first-schema.ts';
import { releaseState } from './0002-release-state.ts';
import { serverVersion } from './0003-server-version.ts';

/** The server's schema, step by step; append only. */
export const serverMigrations: readonly Migration[] = [firstSchema, releaseState, serverVersion];
