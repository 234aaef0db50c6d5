"""Clusters and worker set-up; knows no pipeline."""
