/*
 * The subcommands of `mpcformer`. Each is a main() of its own: argv[0] is "mpcformer NAME", options
 * are argp's (so each has --help), results go to stdout, messages to stderr, and the result is one
 * of exit.h. The table of them all is in main_tool.c.
 */
#ifndef APPLIANCE_CMD_H
#define APPLIANCE_CMD_H

int cmd_lab(int argc, char **argv);
int cmd_infer(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_share(int argc, char **argv);
int cmd_keygen(int argc, char **argv);
int cmd_dealer(int argc, char **argv);
int cmd_host(int argc, char **argv);
int cmd_audit(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_metrics(int argc, char **argv);
int cmd_reload(int argc, char **argv);
int cmd_control(int argc, char **argv); /* tape, drain, peer, log */
int cmd_job(int argc, char **argv);
int cmd_model(int argc, char **argv);
int cmd_train(int argc, char **argv); /* finetune, distill, vocab */

#endif
