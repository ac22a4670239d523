import type { DialectSupport } from '../../dialect.ts';
import { nowMs } from './clock.ts';
import { columnTypes } from './column-types.ts';
import { connect } from './connection.ts';
import { classifyError } from './errors.ts';
import { insertIfAbsent } from './insert-if-absent.ts';
import { withMigrationLock } from './migration-lock.ts';
import { tryLock } from './try-lock.ts';

export const sqlite: DialectSupport = {
  name: 'sqlite',
  connect,
  nowMs,
  columnTypes,
  classifyError,
  ddlIsTransactional: true,
  withMigrationLock,
  tryLock,
  insertIfAbsent,
};
