// A server under ebb run under PM2: pm2 start ecosystem.config.cjs
// pm2 sendSignal SIGHUP app replaces the program, and keeps its connections. pm2 reload and pm2 restart do not.
module.exports = {
  apps: [
    {
      name: 'app',
      cwd: '/srv/app',
      script: 'node_modules/ebb/bin/ebb.js',
      args: 'run --keep -- node server.js',
      // In ms: longer than --kill-after of ebb run, 10 s. The default of PM2 is 1.6 s.
      kill_timeout: 15_000,
      // The signal goes to ebb run alone, which passes it on. Otherwise the program gets it twice.
      treekill: false
    }
  ]
}
