import type { Migration } from '../../lib/database/migration.ts';
import { firstSchema } from './0001-first-schema.ts';

/** The server's schema, step by step; append only. */
export const serverMigrations: readonly Migration[] = [firstSchema];
