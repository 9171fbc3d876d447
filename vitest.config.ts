import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['packages/*/src/**/*.test.ts', 'test/**/*.test.ts', 'bench/harness/*.test.mjs'],
    // Real processes under real load on few cores: a time limit is for what hangs.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // CI's: a machine that is shared may stand still for a while. What was tried twice is told of ("retry x1").
    retry: Number(process.env.VITEST_RETRY ?? 0),
    pool: 'forks',
    maxWorkers: 2
  }
})
